"""Advantages from the rewards of groups of episodes that share one start."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

AdvantageKind = Literal["grpo", "dr_grpo"]

FLAT_TOLERANCE = 1e-9
"""A group whose rewards differ by no more than this, relative to the largest (or to 1), is flat: the
difference is rounding (0.1 + 0.2 against 0.3), and dividing by it would make noise as large as a success."""


@dataclass(frozen=True, slots=True)
class Advantages:
    values_E: NDArray[np.float64]
    """One per episode, in the order given."""
    flat_E: NDArray[np.bool_]
    """Whether the episode's group teaches nothing: all its rewards are equal, or it has one member only."""
    groups: int
    flat_groups: int


def group_advantages(rewards: Sequence[float], groups: Sequence[int], kind: AdvantageKind) -> Advantages:
    """Group-relative advantages, in float64.

    rewards [E]; groups [E] names each episode's group, whose members may stand anywhere.

    - `grpo`: (r - mean) / std, with the sample standard deviation (n - 1) (DeepSeekMath, arXiv 2402.03300,
      section 4.1.2; the divisor as in the public implementations);
    - `dr_grpo`: r - mean (Understanding R1-Zero-Like Training, arXiv 2503.20783, section 3.1: dividing by std
      favours starts that are almost solved or almost hopeless).

    A flat group gets exactly 0. Raises ValueError for lengths that differ and rewards that are not finite.
    """
    rewards_E = np.asarray(rewards, dtype=np.float64)
    if len(rewards_E) != len(groups):
        raise ValueError(
            f"{len(rewards_E)} rewards but {len(groups)} group numbers; there must be one per episode"
        )
    if not np.isfinite(rewards_E).all():
        index = int(np.flatnonzero(~np.isfinite(rewards_E))[0])
        raise ValueError(
            f"the reward of episode {index} is {rewards_E[index]}; a reward term divided by 0 or overflowed"
        )
    names, group_E = np.unique(np.asarray(groups), return_inverse=True)
    values_E = np.zeros_like(rewards_E)
    flat_E = np.zeros(len(rewards_E), dtype=np.bool_)
    flat_groups = 0
    for g in range(len(names)):
        members = np.flatnonzero(group_E == g)
        rewards_G = rewards_E[members]
        if np.ptp(rewards_G) <= FLAT_TOLERANCE * max(1.0, np.abs(rewards_G).max()):
            flat_E[members] = True
            flat_groups += 1
            continue
        centred_G = rewards_G - rewards_G.mean()
        values_E[members] = centred_G / rewards_G.std(ddof=1) if kind == "grpo" else centred_G
    return Advantages(values_E, flat_E, len(names), flat_groups)
