"""Generalised advantage estimation (arXiv:1506.02438): what was earned, over what a value model expected."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ludus.trainers.advantages.reinforce_pp import whitened
from ludus.trainers.advantages.trajectory import Trajectory


def gae_credit(trajectories: Sequence[Trajectory], gamma: float, lam: float, whiten: bool) -> list[Tensor]:
    """Advantages of the sampled tokens of each trajectory, [T] float64: A_t = G_t - V_t, with G_t as in
    `value_targets`; whitened over the batch's tokens if `whiten`.

    With γ = λ = 1 and an episode that terminated, A_t is what was earned from t on, minus V_t, exactly.
    """
    targets = value_targets(trajectories, gamma, lam)
    values = [_values_T(trajectory) for trajectory in trajectories]
    advantages = [target - value for target, value in zip(targets, values, strict=True)]
    return whitened(advantages, trajectories) if whiten else advantages


def value_targets(trajectories: Sequence[Trajectory], gamma: float, lam: float) -> list[Tensor]:
    """What a value model should have said before each sampled token of each trajectory, [T] float64; see
    `lambda_returns`. A turn's reward is at its last token."""
    if not trajectories:
        return []
    rewards = [trajectory.rewards_T() for trajectory in trajectories]
    values = [_values_T(trajectory) for trajectory in trajectories]
    targets_ET = lambda_returns(
        pad_sequence(rewards, batch_first=True),
        pad_sequence(values, batch_first=True),
        pad_sequence([torch.ones_like(reward, dtype=torch.bool) for reward in rewards], batch_first=True),
        torch.tensor([trajectory.bootstrap for trajectory in trajectories], dtype=torch.float64),
        gamma,
        lam,
    )
    return [target_T[: len(reward)] for target_T, reward in zip(targets_ET, rewards, strict=True)]


def lambda_returns(
    rewards_ET: Tensor, values_ET: Tensor, sampled_ET: Tensor, bootstrap_E: Tensor, gamma: float, lam: float
) -> Tensor:
    """The λ-returns of E episodes of at most T tokens; 0 where the agent sampled no token. [E, T]

        G_t = r_t + γ ((1 - λ) V_t' + λ G_t')

    t' is the agent's next token: what the environment said in between takes no time. After the last one,
    V = G = bootstrap. A_t = G_t - V_t is Σ_k (γλ)^k δ_{t+k}, δ_t = r_t + γ V_t' - V_t, of arXiv:1506.02438,
    eq. 16; in this form it is exact, not only up to rounding, with γ = λ = 1.

    Args:
        rewards_ET: Earned with each token.
        values_ET: V_t, of the state in which token t was chosen. Read only where `sampled_ET`.
        sampled_ET: Whether the agent sampled the token; others are the environment's, or padding.
        bootstrap_E: The value of what would have followed: 0 for an episode that terminated.

    Raises:
        ValueError: for a reward on a token that the agent did not sample.
    """
    if misplaced := torch.nonzero((rewards_ET != 0) & ~sampled_ET).tolist():
        e, t = misplaced[0]
        raise ValueError(
            f"episode {e} has a reward of {float(rewards_ET[e, t]):g} on token {t}, which the agent did not "
            "sample; put it on the agent's last token before that"
        )
    returns_ET = torch.zeros_like(rewards_ET)
    next_return = next_value = bootstrap_E
    for t in range(rewards_ET.shape[1] - 1, -1, -1):
        ahead = torch.lerp(next_value, next_return, lam)  # exactly either of them with λ = 0 or 1
        sampled = sampled_ET[:, t]
        next_return = torch.where(sampled, rewards_ET[:, t] + gamma * ahead, next_return)
        next_value = torch.where(sampled, values_ET[:, t], next_value)
        returns_ET[:, t] = torch.where(sampled, next_return, 0.0)
    return returns_ET


def _values_T(trajectory: Trajectory) -> Tensor:
    assert trajectory.values_T is not None, "credit by gae needs the values of a value model"
    return trajectory.values_T
