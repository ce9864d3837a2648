"""Grids of Sudoku: their rules, a solver, and puzzles whose only solution is proven while they are drawn."""

from dataclasses import dataclass
from functools import cache

import numpy as np

BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}
"""Rows and columns of a box, by the size of the grid."""

Grid = tuple[int, ...]
"""The digits row by row; 0 is an empty cell."""


@dataclass(frozen=True, slots=True)
class Puzzle:
    size: int
    givens: Grid
    solution: Grid
    """The only grid that has the givens and keeps the rules."""


@cache
def units(size: int) -> tuple[tuple[int, int, int], ...]:
    """The row, column and box of each cell. Rows are numbered from 0, columns and boxes after them."""
    height, width = BOXES[size]
    across = size // width
    return tuple(
        (row, size + column, 2 * size + row // height * across + column // width)
        for row in range(size)
        for column in range(size)
    )


def solve(size: int, grid: Grid, orders: list[list[int]] | None = None) -> Grid | None:
    """The first solution that is found; None if there is none, which is then proven.

    Args:
        orders: for each cell, the order in which its digits are tried; by default from low to high.
    """
    in_units = units(size)
    free = [2 ** (size + 1) - 2] * (3 * size)
    """For each unit, the digits that are missing in it, as bits."""
    for cell, digit in enumerate(grid):
        if digit:
            row, column, box = in_units[cell]
            if not free[row] & free[column] & free[box] & 1 << digit:
                return None
            for unit in in_units[cell]:
                free[unit] ^= 1 << digit
    filled = list(grid)
    empty = [cell for cell, digit in enumerate(grid) if not digit]

    def fill() -> bool:
        # The cell with the fewest digits to try; where there is none for it, nothing else is tried, either.
        fewest, place, tried = size + 1, -1, 0
        for here, cell in enumerate(empty):
            row, column, box = in_units[cell]
            possible = free[row] & free[column] & free[box]
            if (count := possible.bit_count()) < fewest:
                fewest, place, tried = count, here, possible
                if count <= 1:
                    break
        if place < 0:
            return True
        cell, empty[place] = empty[place], empty[-1]
        empty.pop()
        row, column, box = in_units[cell]
        for digit in orders[cell] if orders else range(1, size + 1):
            if tried & (bit := 1 << digit):
                filled[cell] = digit
                free[row] ^= bit
                free[column] ^= bit
                free[box] ^= bit
                if fill():
                    return True
                free[row] ^= bit
                free[column] ^= bit
                free[box] ^= bit
        empty.append(cell)
        empty[place], empty[-1] = empty[-1], empty[place]
        return False

    return tuple(filled) if fill() else None


def candidates(size: int, grid: Grid, cell: int) -> list[int]:
    """The digits that stand in no unit of a cell; its own digit does not count."""
    taken = {grid[other] for other in peers(size)[cell]}
    return [digit for digit in range(1, size + 1) if digit not in taken]


@cache
def peers(size: int) -> tuple[tuple[int, ...], ...]:
    """For each cell, the others in its row, its column and its box."""
    in_units = units(size)
    return tuple(
        tuple(
            other
            for other in range(size * size)
            if other != cell and any(a == b for a, b in zip(in_units[cell], in_units[other], strict=True))
        )
        for cell in range(size * size)
    )


def draw_puzzle(rng: np.random.Generator, size: int, empty: int) -> Puzzle:
    """A random full grid, of which cells are emptied in random order.

    A cell is emptied only if no other digit in its place leads to a solution. So the solution stays the only
    one, and where no more cells can be emptied there are fewer than `empty`.
    """
    cells = size * size
    orders = rng.permuted(np.tile(np.arange(1, size + 1), (cells, 1)), axis=1).tolist()
    solution = solve(size, (0,) * cells, orders)
    assert solution is not None  # every order leads to some grid
    grid = list(solution)
    left = empty
    for cell in rng.permutation(cells).tolist():
        if not left:
            break
        digit, grid[cell] = grid[cell], 0
        if _is_implied(size, grid, cell, digit):
            left -= 1
        else:
            grid[cell] = digit
    return Puzzle(size, tuple(grid), solution)


def _is_implied(size: int, grid: list[int], cell: int, digit: int) -> bool:
    """Whether no other digit in an empty cell leads to a solution."""
    for other in candidates(size, tuple(grid), cell):
        if other != digit:
            grid[cell] = other
            found = solve(size, tuple(grid))
            grid[cell] = 0
            if found is not None:
                return False
    return True
