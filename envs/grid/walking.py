"""Walking on a grid in words: directions, plans of moves, and boards as text."""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from ludus.envs.actions import action, read_action
from ludus.envs.grid.maze import WALL

DIRECTIONS: Final = ("up", "right", "down", "left")
"""The moves, in order."""

_SEPARATORS = re.compile(r"[\s,]+")


def neighbours(cell: int, columns: int) -> tuple[int, int, int, int]:
    """The cells around one, in the order of `DIRECTIONS`; cells are numbered row by row."""
    return cell - columns, cell + 1, cell + columns, cell - 1


def how_to_move(plan_limit: int) -> str:
    """What a system message says of the form of a reply."""
    how_many = f"1 to {plan_limit} moves" if plan_limit > 1 else "one move"
    return f"Reply with {how_many}, like {action(*('up', 'up', 'left')[-plan_limit:])}"


def read_moves(text: str, plan_limit: int) -> tuple[list[str], str]:
    """The moves of a reply, 1 to `plan_limit`; none, and what is wrong with it."""
    given, complaint = read_action(text)
    if given is None:
        return [], complaint
    moves = [name for name in _SEPARATORS.split(given.strip().lower()) if name]
    if not moves:
        return [], "The <action> is empty."
    if len(moves) > plan_limit:
        return [], f"{len(moves)} moves are too many."
    for name in moves:
        if name not in DIRECTIONS:
            return [], f"{name[:12]!r} is not a move: use up, right, down or left."
    return moves, ""


def board_text(cells: np.ndarray, signs: Sequence[str]) -> str:
    """Lines of signs with spaces between, so that each becomes a token; `cells` is uint8 (rows, columns)."""
    return "\n".join(" ".join([signs[cell] for cell in row]) for row in cells.tolist())


def field_of_view(grid: np.ndarray, cell: int, radius: int) -> np.ndarray:
    """The square of cells around one, with walls where the grid ends."""
    row, column = divmod(cell, grid.shape[1])
    padded = np.pad(grid, radius, constant_values=WALL)
    return padded[row : row + 2 * radius + 1, column : column + 2 * radius + 1]
