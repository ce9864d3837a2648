"""Pac-Man's board as text: one sign a cell, with spaces between, so that each becomes a token."""

from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.game import Game
from ludus.envs.grid.walking import DIRECTIONS, neighbours

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


def open_moves(cells: bytes, pacman: int, columns: int) -> list[str]:
    """The directions in which there is no wall beside Pac-Man."""
    return [
        name
        for name, cell in zip(DIRECTIONS, neighbours(pacman, columns), strict=True)
        if cells[cell] & rules.GROUND_BITS != rules.WALL
    ]
