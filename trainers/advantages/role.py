"""Credit by role: an episode's return over what the same seat of the same game earned in earlier steps."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ludus.agents.episode import Episode
from ludus.trainers.advantages.trajectory import Trajectory

MEMORY = 0.95
"""By how much an episode's return counts less with each later one."""

_PREFIX = "seats/"


def role_credit(trajectories: Sequence[Trajectory]) -> list[Tensor]:
    """Advantages of the sampled tokens of each trajectory, [T] float64: its return minus its `baseline`."""
    return [
        torch.full((sum(t.tokens),), t.episode_return - t.baseline, dtype=torch.float64) for t in trajectories
    ]


def role_of(episode: Episode) -> str:
    """The game and the seat that an episode was played from; empty where nobody moved or there are no
    seats."""
    actor = episode.turns[0].actor if episode.turns else ""
    game = episode.environment.rpartition("/")[2].rpartition("-v")[0]
    return f"{game}/{actor}" if actor else ""


def role_metrics(roles: Sequence[str], trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """`seats/GAME/SEAT/return` and `…/episodes` of a step: the mean return, and of how many episodes.

    Args:
        roles: Of the trajectories, as `role_of` gives them.
    """
    returns: dict[str, list[float]] = {}
    for role, trajectory in zip(roles, trajectories, strict=True):
        if role:
            returns.setdefault(role, []).append(trajectory.episode_return)
    metrics: dict[str, float] = {}
    for role in sorted(returns):
        metrics[f"{_PREFIX}{role}/return"] = sum(returns[role]) / len(returns[role])
        metrics[f"{_PREFIX}{role}/episodes"] = float(len(returns[role]))
    return metrics


def baselines(history: Sequence[Mapping[str, float | str]]) -> dict[str, float]:
    """What each role earned in the steps so far, by SPIRAL's running mean (arXiv:2506.24119, section 3.3), 0
    at first. After a step with n episodes that earned R on average:

        b ← αⁿ b + (1 - αⁿ) R    α = 0.95

    An episode is compared with the mean as it stood before its step, which does not depend on it; there, with
    one that includes it.
    """
    values: dict[str, float] = {}
    for line in history:
        for name, mean in line.items():
            if name.startswith(_PREFIX) and name.endswith("/return"):
                role = name.removeprefix(_PREFIX).removesuffix("/return")
                kept = MEMORY ** float(line[f"{_PREFIX}{role}/episodes"])
                values[role] = kept * values.get(role, 0.0) + (1.0 - kept) * float(mean)
    return values
