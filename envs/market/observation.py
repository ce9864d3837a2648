"""What an agent of the native forms observes."""

from typing import Final

import numpy as np
from gymnasium.spaces import Box

from ludus.envs.market.layout import OBSERVATION_SIZE

_FARTHEST: Final = 2**53


def observation_space() -> Box:
    """The space of one market's observations, which `rules.look` writes."""
    return Box(-_FARTHEST, _FARTHEST, (OBSERVATION_SIZE,), np.int64)
