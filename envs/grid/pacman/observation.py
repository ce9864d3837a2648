"""What an agent sees of Pac-Man: cells as sets of bits, or planes of them for convolutional networks."""

from typing import Final

import numpy as np
from gymnasium.spaces import Box

from ludus.envs.arguments import as_choice
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.game import Game

OBSERVATIONS: Final = ("cells", "planes")

_GROUND = [rules.WALL, rules.FLOOR, rules.PELLET, rules.POWER]
_PIECES = [rules.PACMAN_BIT, *(rules.GHOST_BIT << g for g in range(rules.MOST_GHOSTS)), rules.HARMLESS_BIT]
_VALUES = np.array([*_GROUND, *_PIECES], np.uint8)
"""What each plane stands for in a cell."""
_CELLS = np.arange(256, dtype=np.uint8)[:, None]
_PLANES = 255 * np.hstack(
    [_CELLS & rules.GROUND_BITS == _GROUND, _CELLS & np.array(_PIECES, np.uint8) != 0]
).astype(np.uint8)
"""The planes of each value of a cell, uint8 (256, 10)."""


def observation_space(game: Game, observation: str) -> Box:
    """The space of one game's observations.

    Raises:
        ArgumentError: there is no such kind of observation.
    """
    planes = as_choice("observation", observation, OBSERVATIONS) == "planes"
    shape = (*game.view_shape, len(_VALUES)) if planes else game.view_shape
    return Box(0, 255, shape, np.uint8)


def as_planes(cells: np.ndarray) -> np.ndarray:
    """Cells, uint8 (…, rows, columns), as planes of 0 and 255, uint8 (…, rows, columns, 10)."""
    return _PLANES[cells]


def as_cells(observation: np.ndarray) -> np.ndarray:
    """One game's observation of either kind as cells, uint8 (rows, columns)."""
    return observation if observation.ndim == 2 else (observation // 255) @ _VALUES
