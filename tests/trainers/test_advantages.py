"""Credit: the advantage of every token, from what its episode earned and when."""

import pytest
import torch

from ludus.agents.episode import Episode
from ludus.trainers.advantages.group import group_credit
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


def test_a_row_knows_its_turns(episode) -> None:
    from dataclasses import replace

    (turn,) = episode(1.0).turns
    played = replace(episode(1.0), turns=(turn, replace(turn, actor="b"), replace(turn, fork=True)))
    assert isinstance(played, Episode)
    assert [row.turns for row in played.training_sequences()] == [(0,), (1,), (2,)]
