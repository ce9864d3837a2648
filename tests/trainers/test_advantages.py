"""Credit: the advantage of every token, from what its episode earned and when."""

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.episode import Episode
from ludus.trainers.advantages.group import group_credit
from ludus.trainers.advantages.reinforce_pp import reinforce_pp_baseline_credit, reinforce_pp_credit
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.advantages.turn import returns_to_go, turn_credit


def test_a_turns_reward_is_at_its_last_token() -> None:
    trajectory = Trajectory(
        0, (1.0, 2.0, 4.0), (2, 0, 1), shaping=0.5, token_rewards_T=torch.tensor([0.1, 0.0, 0.2]).double()
    )
    assert trajectory.rewards_T().tolist() == pytest.approx([0.1, 3.0, 4.7])
    assert trajectory.turn_rewards_K().tolist() == pytest.approx([1.1, 2.0, 4.7])
    assert trajectory.episode_return == pytest.approx(7.8)


def test_an_episode_cut_off_before_its_first_turn_earned_nothing() -> None:
    trajectory = Trajectory(0, (), (), token_rewards_T=torch.zeros(0).double())
    assert trajectory.turn_rewards_K().tolist() == trajectory.rewards_T().tolist() == []
    assert trajectory.episode_return == 0.0


def test_returns_to_go_by_hand() -> None:
    assert returns_to_go(torch.tensor([1.0, 0.0, 4.0]), 0.5).tolist() == [2.0, 2.0, 4.0]


def test_a_turn_is_compared_with_all_others_in_the_group_those_that_had_ended_too() -> None:
    long = Trajectory(0, (0.0, 1.0, 3.0), (1, 2, 1))
    short = Trajectory(0, (2.0,), (1,))
    other = Trajectory(0, (0.0, 1.0), (1, 1))
    alone = Trajectory(1, (5.0,), (2,))
    credit = turn_credit([long, short, alone, other], gamma=1.0)
    assert credit[0].tolist() == pytest.approx([4 - (2 + 1) / 2, *[4 - (0 + 1) / 2] * 2, 3 - 0])
    assert credit[1].tolist() == pytest.approx([2 - (4 + 1) / 2])
    assert credit[2].tolist() == [0.0, 0.0]
    assert credit[3].tolist() == pytest.approx([1 - (4 + 2) / 2, 1 - (4 + 0) / 2])


def test_credit_by_turn_of_single_turns_is_rloo() -> None:
    trajectories = [Trajectory(0, (reward,), (2,)) for reward in (1.0, 3.0, 5.0)]
    by_turn, by_group = turn_credit(trajectories, 1.0), group_credit(trajectories, "rloo")
    for a, b in zip(by_turn, by_group, strict=True):
        torch.testing.assert_close(a, b)


TURNS = st.lists(st.tuples(st.floats(-2, 2), st.integers(0, 3)), min_size=1, max_size=4)


def whitened_by_hand(values: list[list[float]]) -> list[list[float]]:
    every = [value for row in values for value in row]
    if len(every) < 2 or max(every) - min(every) < 1e-9:
        return [[0.0] * len(row) for row in values]
    mean, spread = statistics.fmean(every), statistics.stdev(every)
    return [[(value - mean) / spread for value in row] for row in values]


@given(episodes=st.lists(TURNS, min_size=1, max_size=5), gamma=st.sampled_from([1.0, 0.9, 0.5]))
@settings(max_examples=60)
def test_reinforce_pp_is_its_formula(episodes: list, gamma: float) -> None:
    trajectories = [Trajectory(0, *map(tuple, zip(*turns, strict=True))) for turns in episodes]
    returns = []
    for trajectory in trajectories:
        rewards = trajectory.rewards_T().tolist()
        returns.append(
            [sum(gamma ** (j - t) * rewards[j] for j in range(t, len(rewards))) for t in range(len(rewards))]
        )
    expected = whitened_by_hand(returns)
    for credit, values in zip(reinforce_pp_credit(trajectories, gamma), expected, strict=True):
        assert credit.tolist() == pytest.approx(values, abs=1e-7)


def test_reinforce_pp_with_a_baseline_by_hand() -> None:
    """Groups of returns 1 and 3, and 10 and 10; of 2, 1, 1 and 3 tokens. Whitening counts tokens."""
    rewards, groups, tokens = (1.0, 3.0, 10.0, 10.0), (0, 0, 1, 1), (2, 1, 1, 3)
    trajectories = [
        Trajectory(group, (reward,), (count,))
        for reward, group, count in zip(rewards, groups, tokens, strict=True)
    ]
    expected = whitened_by_hand([[-1.0, -1.0], [1.0], [0.0], [0.0] * 3])
    for credit, values in zip(reinforce_pp_baseline_credit(trajectories), expected, strict=True):
        assert credit.tolist() == pytest.approx(values)


def test_an_episode_that_is_left_out_does_not_move_the_others_whitening() -> None:
    kept = [Trajectory(0, (reward,), (2,)) for reward in (0.0, 1.0)]
    cut = Trajectory(0, (-50.0,), (9,), is_trained_on=False)
    credit = reinforce_pp_credit([*kept, cut], 1.0)
    for values, alone in zip(credit, reinforce_pp_credit(kept, 1.0), strict=False):
        assert torch.equal(values, alone)


def test_a_batch_that_earned_the_same_has_no_advantage() -> None:
    """0.1 + 0.2 is not 0.3, which whitening would make as large as a success."""
    trajectories = [Trajectory(0, (0.1, 0.2), (1, 1)), Trajectory(1, (0.3,), (2,)), Trajectory(2, (), ())]
    for credit in (reinforce_pp_credit(trajectories[:1], 1.0), reinforce_pp_baseline_credit(trajectories)):
        assert credit[0].shape == (2,)
    assert not any(values.any() for values in reinforce_pp_baseline_credit(trajectories))
    same = [Trajectory(0, (0.0, 0.1 + 0.2), (1, 1)), Trajectory(1, (0.3,), (2,))]
    assert not any(values.any() for values in reinforce_pp_credit(same, 1.0))
    assert reinforce_pp_credit([], 1.0) == []


def test_a_row_knows_its_turns(episode) -> None:
    from dataclasses import replace

    (turn,) = episode(1.0).turns
    played = replace(episode(1.0), turns=(turn, replace(turn, actor="b"), replace(turn, fork=True)))
    assert isinstance(played, Episode)
    assert [row.turns for row in played.training_sequences()] == [(0,), (1,), (2,)]
