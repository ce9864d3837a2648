"""Mazes from a seed: mirror-symmetric, every cell reachable, no dead ends, corridors one cell wide.

A maze is a graph drawn on a lattice whose lines lie two or three cells apart. The left half gets a random
spanning tree (depth first, hence long corridors), passages to its mirror image, a second way out of every
dead end and a few more loops; then it is drawn, and mirrored. A lattice gap of at least two keeps corridors
from lying side by side.
"""

import numpy as np
from numba import njit

from ludus.envs.grid.compiled_random import advanced, below, mixed

SMALLEST, LARGEST = 7, 63
"""Bounds of a maze's rows and columns."""

WALL, FLOOR = 0, 1

_MOST_LINES = (LARGEST + 1) // 2
_LOOP_ODDS = 6
"""One lattice node in this many gets an additional passage."""


def make_maze(rows: int, columns: int, seed: int) -> np.ndarray:
    """One maze as a uint8 array (rows, columns): 0 wall, 1 floor."""
    cells = np.zeros((1, rows * columns), np.uint8)
    draw_mazes(cells, np.array([seed], np.int64), np.ones(1, np.bool_), rows, columns, 0, 1)
    return cells[0].reshape(rows, columns)


@njit(cache=True, nogil=True)
def draw_mazes(
    cells: np.ndarray, keys: np.ndarray, due: np.ndarray, rows: int, columns: int, low: int, high: int
) -> None:
    """Overwrite the rows of `cells` (uint8, N × rows·columns) in [low, high) that are `due` with new mazes.

    A maze is a function of its key and the size alone.
    """
    ys = np.empty(_MOST_LINES, np.int64)
    xs = np.empty(_MOST_LINES, np.int64)
    for i in range(low, high):
        if due[i]:
            word = mixed(keys[i])
            height, word = _spaced(ys, 1, rows - 2, word)
            last, shared, word = _last_column(columns, word)
            width, word = _spaced(xs, 1, last, word)
            east, south = _passages(height, width, shared, word)
            _draw(cells[i], columns, ys, xs, height, width, east, south)


@njit(inline="always")
def _last_column(columns: int, word: np.int64) -> tuple[int, bool, np.int64]:
    """Where the left half's last lattice line lies, and whether it is the axis, shared with the mirror."""
    if columns % 2 == 0:
        # Two cells of wall on the axis; in a maze of eight columns the half has room for one line only.
        return (columns // 2 - 2 if columns != 8 else 1), False, word
    axis = columns // 2
    word = advanced(word)
    if columns >= 9 and below(word, 2) == 0:
        return axis - 1, False, word
    return axis, True, word


@njit(inline="always")
def _spaced(lines: np.ndarray, first: int, last: int, word: np.int64) -> tuple[int, np.int64]:
    """Fill `lines` with coordinates from `first` to `last`, two or three apart; returns how many."""
    lines[0] = first
    count = 1
    while lines[count - 1] < last:
        left = last - lines[count - 1]
        if left <= 3:
            gap = left
        elif left == 4:
            gap = 2
        else:
            word = advanced(word)
            gap = 2 + below(word, 2)
        lines[count] = lines[count - 1] + gap
        count += 1
    return count, word


@njit(inline="always")
def _degree(east: np.ndarray, south: np.ndarray, y: int, x: int, shared: bool) -> np.int64:
    """Open passages of a node. `east` of the last line leads to the mirror image, if it is not the axis."""
    count = np.int64(south[y, x]) + np.int64(east[y, x])
    if y > 0:
        count += south[y - 1, x]
    if x > 0:
        count += east[y, x - 1]
        if shared and x == east.shape[1] - 1:
            count += east[y, x - 1]
    return count


@njit(inline="always")
def _open_one(east: np.ndarray, south: np.ndarray, y: int, x: int, shared: bool, word: np.int64) -> np.int64:
    """Open one closed passage of a node, if it has any, each with the same chance."""
    height, width = east.shape
    word = advanced(word)
    start = below(word, 4)
    for turn in range(4):
        side = (start + turn) % 4
        if side == 0 and y > 0 and not south[y - 1, x]:
            south[y - 1, x] = True
            break
        if side == 1 and (x < width - 1 or not shared) and not east[y, x]:
            east[y, x] = True
            break
        if side == 2 and y < height - 1 and not south[y, x]:
            south[y, x] = True
            break
        if side == 3 and x > 0 and not east[y, x - 1]:
            east[y, x - 1] = True
            break
    return word


@njit(inline="always")
def _passages(height: int, width: int, shared: bool, word: np.int64) -> tuple[np.ndarray, np.ndarray]:
    """Which passages of the half lattice are open, to the east and to the south of each node."""
    east = np.zeros((height, width), np.bool_)
    south = np.zeros((height, width), np.bool_)
    seen = np.zeros((height, width), np.bool_)
    stack = np.empty(height * width, np.int64)
    word = advanced(word)
    stack[0] = below(word, height * width)
    seen[stack[0] // width, stack[0] % width] = True
    depth = 1
    while depth > 0:
        y, x = stack[depth - 1] // width, stack[depth - 1] % width
        word = advanced(word)
        start = below(word, 4)
        moved = False
        for turn in range(4):
            side = (start + turn) % 4
            ny = y - (side == 0) + (side == 2)
            nx = x + (side == 1) - (side == 3)
            if ny < 0 or ny >= height or nx < 0 or nx >= width or seen[ny, nx]:
                continue
            if side % 2 == 1:
                east[y, min(x, nx)] = True
            else:
                south[min(y, ny), x] = True
            seen[ny, nx] = True
            stack[depth] = ny * width + nx
            depth += 1
            moved = True
            break
        if not moved:
            depth -= 1
    if not shared:
        # Two passages to the mirror image, so that no single cell cuts the maze in two.
        word = advanced(word)
        first = below(word, height)
        word = advanced(word)
        east[first, width - 1] = True
        east[(first + 1 + below(word, height - 1)) % height, width - 1] = True
    for y in range(height):
        for x in range(width):
            if _degree(east, south, y, x, shared) < 2:
                word = _open_one(east, south, y, x, shared, word)
            word = advanced(word)
            if below(word, _LOOP_ODDS) == 0:
                word = _open_one(east, south, y, x, shared, word)
    return east, south


@njit(inline="always")
def _draw(
    cells: np.ndarray,
    columns: int,
    ys: np.ndarray,
    xs: np.ndarray,
    height: int,
    width: int,
    east: np.ndarray,
    south: np.ndarray,
) -> None:
    cells[:] = WALL
    for y in range(height):
        for x in range(width):
            row = ys[y] * columns
            cells[row + xs[x]] = FLOOR
            cells[row + columns - 1 - xs[x]] = FLOOR
            if east[y, x]:
                end = xs[x + 1] if x < width - 1 else columns - 1 - xs[x]
                for column in range(xs[x], end):
                    cells[row + column] = FLOOR
                    cells[row + columns - 1 - column] = FLOOR
            if south[y, x]:
                for r in range(ys[y], ys[y + 1]):
                    cells[r * columns + xs[x]] = FLOOR
                    cells[r * columns + columns - 1 - xs[x]] = FLOOR
