"""Credit by episode: every token of an episode has the advantage of its return over its group's."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ludus.kernels import group_advantage
from ludus.kernels.group_advantage.reference import AdvantageKind
from ludus.trainers.advantages.trajectory import Trajectory


def episode_advantages(trajectories: Sequence[Trajectory], kind: AdvantageKind) -> Tensor:
    """The advantage of each trajectory's return over its group's, [E] float64: see `group_advantage`."""
    returns_E = torch.tensor([t.episode_return for t in trajectories], dtype=torch.float64)
    group_E = torch.tensor([t.group for t in trajectories], dtype=torch.int64)
    return group_advantage(returns_E, group_E, kind).values


def group_credit(trajectories: Sequence[Trajectory], kind: AdvantageKind) -> list[Tensor]:
    """Advantages of the sampled tokens of each trajectory, [T] float64."""
    values = episode_advantages(trajectories, kind).tolist()
    return [
        torch.full((sum(t.tokens),), value, dtype=torch.float64)
        for t, value in zip(trajectories, values, strict=True)
    ]
