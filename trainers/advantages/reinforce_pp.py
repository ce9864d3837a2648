"""REINFORCE++ (arXiv:2501.03262): advantages of tokens, whitened over the whole batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ludus.kernels.group_advantage.reference import FLAT_TOLERANCE
from ludus.trainers.advantages.group import group_credit
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.advantages.turn import returns_to_go


def reinforce_pp_credit(trajectories: Sequence[Trajectory], gamma: float) -> list[Tensor]:
    """Advantages of the sampled tokens of each trajectory, [T] float64.

        A_t = (G_t - mean) / std    with G_t = Σ_{j ≥ t} γ^(j - t) r_j

    over the agent's tokens alone: what the environment said in between takes no time. A turn's reward is at
    its last token. See `whitened` for mean and standard deviation.
    """
    if not trajectories:
        return []
    rewards = [trajectory.rewards_T() for trajectory in trajectories]
    returns_ET = returns_to_go(pad_sequence(rewards, batch_first=True), gamma)
    returns = [row_T[: len(reward_T)] for row_T, reward_T in zip(returns_ET, rewards, strict=True)]
    return whitened(returns, trajectories)


def reinforce_pp_baseline_credit(trajectories: Sequence[Trajectory]) -> list[Tensor]:
    """Advantages of the sampled tokens of each trajectory, [T] float64: the episode's return minus its
    group's mean, whitened. A flat group, or one of a single episode, has 0 before that."""
    return whitened(group_credit(trajectories, "dr_grpo"), trajectories)


def whitened(values: Sequence[Tensor], trajectories: Sequence[Trajectory]) -> list[Tensor]:
    """The values of tokens minus their mean, over their standard deviation (n - 1), both over all tokens of
    the batch that are trained on. Where these are all equal, or there is only one, every value is 0."""
    counted = [v for v, trajectory in zip(values, trajectories, strict=True) if trajectory.is_trained_on]
    all_A = torch.cat([torch.zeros(0, dtype=torch.float64), *counted])
    highest, lowest = (float(all_A.max()), float(all_A.min())) if len(all_A) else (0.0, 0.0)
    if highest - lowest <= FLAT_TOLERANCE[torch.float64] * max(1.0, abs(highest), abs(lowest)):
        return [torch.zeros_like(value) for value in values]
    spread, mean = torch.std_mean(all_A)
    return [(value - mean) / spread for value in values]
