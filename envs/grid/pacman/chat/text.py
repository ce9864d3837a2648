"""Pac-Man's board as text: one sign a cell, with spaces between, so that each becomes a token."""

import numpy as np

from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.game import DIRECTIONS, Game

WALL_SIGN, EMPTY_SIGN, PELLET_SIGN, POWER_SIGN = "#", "_", ".", "o"
PACMAN_SIGN, LOST_SIGN = "P", "X"
GHOST_SIGNS = {"chaser": "C", "ambusher": "A", "patroller": "T", "shy": "S"}
HARMLESS_SIGN = "f"


def cell_signs(game: Game) -> str:
    """The sign of each of the 256 values that a grid cell can have."""
    signs = []
    for value in range(256):
        kinds = [kind for g, kind in enumerate(game.ghost_kinds) if value & (rules.GHOST_BIT << g)]
        if value & rules.PACMAN_BIT:
            dangerous = kinds and not value & rules.HARMLESS_BIT
            signs.append(LOST_SIGN if dangerous else PACMAN_SIGN)
        elif kinds:
            signs.append(HARMLESS_SIGN if value & rules.HARMLESS_BIT else GHOST_SIGNS[kinds[0]])
        else:
            signs.append((WALL_SIGN, EMPTY_SIGN, PELLET_SIGN, POWER_SIGN)[value & rules.GROUND_BITS])
    return "".join(signs)


def board_text(cells: np.ndarray, signs: str) -> str:
    """Lines of signs; `cells` is uint8 (rows, columns)."""
    return "\n".join(" ".join([signs[cell] for cell in row]) for row in cells.tolist())


def open_moves(cells: bytes, pacman: int, columns: int) -> list[str]:
    """The directions in which there is no wall beside Pac-Man."""
    around = (pacman - columns, pacman + 1, pacman + columns, pacman - 1)
    return [
        name
        for name, cell in zip(DIRECTIONS, around, strict=True)
        if cells[cell] & rules.GROUND_BITS != rules.WALL
    ]


def field_of_view(grid: np.ndarray, pacman: int, radius: int) -> np.ndarray:
    """The square of cells around Pac-Man, with walls where the maze ends."""
    row, column = divmod(pacman, grid.shape[1])
    padded = np.pad(grid, radius, constant_values=rules.WALL)
    return padded[row : row + 2 * radius + 1, column : column + 2 * radius + 1]
