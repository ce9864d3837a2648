"""`group_advantage`: picks the path for the device."""

from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from ludus.kernels.arguments import accumulation_dtype
from ludus.kernels.group_advantage import cpu
from ludus.kernels.group_advantage.reference import AdvantageKind, group_advantage_reference
from ludus.kernels.paths import fall_back, path_for

MOST_EPISODES = 65_536
"""The fused kernel compares every episode with every other; beyond this many, sorting is faster."""


class GroupAdvantage(NamedTuple):
    """In the order given."""

    values: Tensor
    """[E], float32 (float64 for float64 rewards)."""
    flat: Tensor
    """[E] bool: all rewards of the episode's group are equal, or it has one member only, so that its
    advantages say nothing."""


def group_advantage(rewards: Tensor, group_ids: Tensor, kind: AdvantageKind = "grpo") -> GroupAdvantage:
    """Advantages of episodes relative to their group, without a gradient.

    rewards [E] float; group_ids [E] integers that name each episode's group, whose members may stand
    anywhere. With mean, standard deviation (n - 1) and size n of the episode's group:

        grpo      (r - mean) / std        DeepSeekMath, arXiv 2402.03300, section 4.1.2; the divisor as in
                                          public implementations
        dr_grpo   r - mean                Understanding R1-Zero-Like Training, arXiv 2503.20783, section 3.1:
                                          dividing by std favours starts that are almost solved or hopeless
        rloo      (r - mean) n / (n - 1)  the reward less the mean of the others: arXiv 2402.14740

    A group is flat, and gets exactly 0, if its rewards differ by at most 1e-9 in float64, or 1e-6 in
    float32, relative to the largest (or to 1). Deviations and their squares are taken from rewards relative
    to each other, so that a common offset costs no digits. On a GPU, where looking would stall it, a reward
    that is not finite makes the advantages of its own group NaN.

    Raises ValueError for shapes and dtypes that do not fit and, on a CPU, for a reward that is not finite.
    """
    if kind not in get_args(AdvantageKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(AdvantageKind))}, not {kind!r}")
    if rewards.dim() != 1:
        raise ValueError(f"rewards must be [E], one per episode, not {list(rewards.shape)}")
    if group_ids.shape != rewards.shape:
        raise ValueError(
            f"{len(rewards)} rewards, but group_ids are {list(group_ids.shape)}: there must be one for each"
        )
    if group_ids.is_floating_point() or group_ids.dtype == torch.bool:
        raise ValueError(f"group_ids must be integers, not {group_ids.dtype}")
    if rewards.requires_grad:
        raise ValueError("rewards have no gradient here; pass rewards.detach()")
    if group_ids.device != rewards.device:
        raise ValueError(
            f"group_ids are on {group_ids.device}, but rewards on {rewards.device}; move them there"
        )
    accumulation_dtype(rewards)
    if rewards.device.type == "cpu" and not bool(rewards.isfinite().all()):
        index = int((~rewards.isfinite()).nonzero()[0])
        raise ValueError(
            f"the reward of episode {index} is {float(rewards[index])}; "
            "a reward term divided by 0 or overflowed"
        )
    path = path_for(rewards)
    if path == "triton" and len(rewards) > MOST_EPISODES:
        fall_back("group_advantage", f"more than {MOST_EPISODES} episodes are sorted, not compared")
        path = "cpu"
    if path == "reference":
        return GroupAdvantage(*group_advantage_reference(rewards, group_ids, kind))
    if not len(rewards):
        return GroupAdvantage(rewards.to(accumulation_dtype(rewards)), rewards > 0)
    return GroupAdvantage(*_kernels(path).forward(rewards, group_ids, kind))


def _kernels(path: str) -> Any:
    if path == "cpu":
        return cpu
    from ludus.kernels.group_advantage import triton

    return triton
