"""Credit by gae: advantages over a value model's values, beside their definition."""

from math import fsum

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ludus.trainers.advantages.credit import assign_credit
from ludus.trainers.advantages.gae import gae_credit, lambda_returns, value_targets
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.config.grpo import GrpoSection


def by_definition(
    rewards: list[float], values: list[float], bootstrap: float, gamma: float, lam: float
) -> list[float]:
    """Σ_k (γλ)^k δ_{t+k}: arXiv:1506.02438, eq. 16."""
    after = [*values, bootstrap][1:]
    errors = [r + gamma * v - own for r, v, own in zip(rewards, after, values, strict=True)]
    return [
        fsum((gamma * lam) ** k * error for k, error in enumerate(errors[t:])) for t in range(len(errors))
    ]


def doubles(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


NUMBER = st.floats(-3, 3, width=32)
TOKENS = st.lists(st.tuples(NUMBER, NUMBER), max_size=5)


@given(
    episodes=st.lists(st.tuples(TOKENS, NUMBER), min_size=1, max_size=4),
    gamma=st.sampled_from([1.0, 0.9, 0.5]),
    lam=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
)
@settings(max_examples=80)
def test_advantages_are_their_definition(episodes: list, gamma: float, lam: float) -> None:
    trajectories = [
        Trajectory(
            0,
            (0.0,),
            (len(tokens),),
            token_rewards_T=doubles([reward for reward, _ in tokens]),
            values_T=doubles([value for _, value in tokens]),
            bootstrap=bootstrap,
        )
        for tokens, bootstrap in episodes
    ]
    credit = gae_credit(trajectories, gamma, lam, whiten=False)
    targets = value_targets(trajectories, gamma, lam)
    for (tokens, bootstrap), given_T, target_T in zip(episodes, credit, targets, strict=True):
        rewards, values = [r for r, _ in tokens], [v for _, v in tokens]
        expected = by_definition(rewards, values, bootstrap, gamma, lam)
        assert given_T.tolist() == pytest.approx(expected, abs=1e-9)
        assert target_T.tolist() == pytest.approx([a + v for a, v in zip(expected, values, strict=True)])


def test_without_discount_to_the_end_it_is_the_return_minus_the_value_exactly() -> None:
    values_T = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e3
    trajectory = Trajectory(0, (0.0, 0.1, 0.7), (10, 0, 30), values_T=values_T)
    (credit,) = gae_credit([trajectory], 1.0, 1.0, whiten=False)
    rewards = trajectory.rewards_T().tolist()
    assert credit.tolist() == [
        sum(reversed(rewards[t:])) - value for t, value in enumerate(values_T.tolist())
    ]


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_what_the_environment_said_in_between_takes_no_time(lam: float) -> None:
    sampled = torch.tensor([[True, True, False, False, True, True, False]])
    rewards, values = torch.zeros(1, 7).double(), torch.full((1, 7), torch.nan).double()
    rewards[sampled], values[sampled] = doubles([0.0, 1.0, 0.5, 2.0]), doubles([0.3, -0.2, 0.9, 0.1])
    spread = lambda_returns(rewards, values, sampled, doubles([0.4]), 0.9, lam)
    own = torch.ones(1, 4, dtype=torch.bool)
    dense = lambda_returns(rewards[sampled][None], values[sampled][None], own, doubles([0.4]), 0.9, lam)
    assert spread[sampled].tolist() == dense[0].tolist()
    assert spread[~sampled].tolist() == [0.0] * 3


def test_a_reward_on_a_token_of_the_environment_is_an_error() -> None:
    sampled = torch.tensor([[True, True], [True, False]])
    rewards = torch.tensor([[0.0, 1.0], [0.0, 0.5]]).double()
    with pytest.raises(ValueError, match=r"episode 1 has a reward of 0\.5 on token 1, .* did not sample"):
        lambda_returns(rewards, torch.zeros(2, 2).double(), sampled, torch.zeros(2).double(), 1.0, 1.0)


def test_a_truncated_episode_counts_on_what_would_have_followed() -> None:
    ended = Trajectory(0, (1.0,), (2,), values_T=doubles([0.5, 0.5]))
    cut = Trajectory(0, (1.0,), (2,), values_T=doubles([0.5, 0.5]), bootstrap=4.0)
    targets = value_targets([ended, cut], gamma=0.5, lam=1.0)
    assert [target.tolist() for target in targets] == [[0.5, 1.0], [1.5, 3.0]]


def test_advantages_are_whitened_over_the_tokens_that_are_trained_on() -> None:
    trajectories = [
        Trajectory(0, (1.0,), (3,), values_T=doubles([0.1, 0.2, 0.3])),
        Trajectory(1, (0.0,), (2,), values_T=doubles([0.4, 0.0])),
        Trajectory(1, (9.0,), (2,), values_T=doubles([0.0, 0.0]), is_trained_on=False),
    ]
    credit = assign_credit(trajectories, GrpoSection(loss="ppo", credit="gae", gae_lambda=0.9))
    counted = torch.cat(credit[:2])
    assert counted.mean().item() == pytest.approx(0.0, abs=1e-12)
    assert counted.std().item() == pytest.approx(1.0)
    assert gae_credit([], 1.0, 1.0, whiten=True) == []
