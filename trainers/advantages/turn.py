"""Credit by turn: a turn has the advantage of what was earned from it on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ludus.trainers.advantages.trajectory import Trajectory


def returns_to_go(rewards: Tensor, gamma: float) -> Tensor:
    """G_k = Σ_{j ≥ k} γ^(j - k) r_j, along the last dimension."""
    returns = rewards.clone()
    for k in range(rewards.shape[-1] - 2, -1, -1):
        returns[..., k] += gamma * returns[..., k + 1]
    return returns


def turn_credit(trajectories: Sequence[Trajectory], gamma: float) -> list[Tensor]:
    """Advantages of the sampled tokens of each trajectory, [T] float64.

    With G_ik what episode i earned from its turn k on, discounted, and 0 from its end on:

        A_ik = G_ik - mean of G_jk over the others j of the group

    The baseline of a turn follows from the others' episodes alone, and *all* of them count, those that had
    already ended too. So it has no bias, however long the policy chooses to go on. A mean over the episodes
    that reached turn k would have one: it includes the episode itself with a weight that varies with how many
    reached it, and gives the longest episode of a group no gradient at all after the others' ends.

    An episode that is alone in its group has advantage 0.
    """
    members: dict[int, list[int]] = {}
    for index, trajectory in enumerate(trajectories):
        members.setdefault(trajectory.group, []).append(index)
    advantages: list[Tensor] = [torch.zeros(0)] * len(trajectories)
    for indices in members.values():
        turns = max(len(trajectories[i].rewards) for i in indices)
        returns_GK = torch.zeros(len(indices), turns, dtype=torch.float64)
        for row, i in enumerate(indices):
            rewards_K = trajectories[i].turn_rewards_K()
            returns_GK[row, : len(rewards_K)] = returns_to_go(rewards_K, gamma)
        # Relative to one of them, so that a common offset costs no digits.
        relative_GK = returns_GK - returns_GK[:1]
        others_GK = (relative_GK.sum(0) - relative_GK) / max(1, len(indices) - 1)
        values_GK = relative_GK - others_GK if len(indices) > 1 else torch.zeros_like(relative_GK)
        for row, i in enumerate(indices):
            trajectory = trajectories[i]
            advantages[i] = trajectory.over_tokens(values_GK[row, : len(trajectory.rewards)])
    return advantages
