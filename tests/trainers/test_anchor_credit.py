"""Credit by anchor (GiGPO), beside the paper's formulas written down turn by turn."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.episode import Episode
from ludus.trainers.advantages.anchor import OBSERVED, anchor_credit, anchor_metrics, anchor_note
from ludus.trainers.advantages.credit import assign_credit
from ludus.trainers.advantages.group import group_credit
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.batches.groups import make_groups
from ludus.trainers.config.reading import parse_config
from ludus.trainers.errors import ConfigError

from .conftest import changed


def slow_anchor_credit(
    trajectories: Sequence[Trajectory], gamma: float, omega: float, std: bool
) -> list[list[float]]:
    """arXiv:2505.10978, eqs. 3 and 6 to 9, with advantages of kind `grpo` or `dr_grpo`."""

    def compared(value: float, values: list[float]) -> float:
        if max(values) - min(values) <= 1e-9 * max(1.0, *map(abs, values)):
            return 0.0
        return (value - fmean(values)) / (stdev(values) if std else 1.0)

    def to_go(trajectory: Trajectory, k: int) -> float:
        rewards = trajectory.turn_rewards_K().tolist()
        return sum(gamma ** (later - k) * rewards[later] for later in range(k, len(rewards)))

    credit = []
    for trajectory in trajectories:
        group = [other for other in trajectories if other.group == trajectory.group]
        whole = compared(trajectory.episode_return, [other.episode_return for other in group])
        tokens: list[float] = []
        for k, (anchor, count) in enumerate(zip(trajectory.anchors, trajectory.tokens, strict=True)):
            same = [
                to_go(other, turn)
                for other in group
                for turn, there in enumerate(other.anchors)
                if there == anchor
            ]
            tokens += [whole + omega * compared(to_go(trajectory, k), same)] * count
        credit.append(tokens)
    return credit


@st.composite
def batches(draw: st.DrawFn) -> list[Trajectory]:
    def trajectory() -> Trajectory:
        turns = draw(st.integers(0, 5))
        listed = {"min_size": turns, "max_size": turns}
        tokens = tuple(draw(st.lists(st.integers(0, 3), **listed)))
        rewards = draw(st.lists(st.sampled_from([-1.0, 0.0, 0.1, 0.5, 1.0, 10.0]), **listed))
        charged = draw(st.booleans())
        return Trajectory(
            draw(st.integers(0, 2)),
            tuple(rewards),
            tokens,
            draw(st.sampled_from([0.0, -0.25])) if turns else 0.0,
            torch.tensor([0.125 * (t % 3) for t in range(sum(tokens))]).double() if charged else None,
            tuple(draw(st.lists(st.sampled_from("abcd"), **listed))),
        )

    return [trajectory() for _ in range(draw(st.integers(1, 8)))]


@given(batches(), st.sampled_from([0.5, 0.9, 1.0]), st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
@settings(max_examples=150)
def test_it_is_the_papers_formula(
    trajectories: list[Trajectory], gamma: float, omega: float, std: bool
) -> None:
    expected = slow_anchor_credit(trajectories, gamma, omega, std)
    found = anchor_credit(trajectories, "grpo" if std else "dr_grpo", gamma, omega, std)
    assert [len(tokens) for tokens in found] == [sum(t.tokens) for t in trajectories]
    for tokens, slow in zip(found, expected, strict=True):
        assert tokens.dtype == torch.float64
        assert tokens.tolist() == pytest.approx(slow, rel=1e-9, abs=1e-9)


@given(batches(), st.sampled_from(["grpo", "dr_grpo", "rloo"]), st.sampled_from([0.5, 1.0]), st.booleans())
@settings(max_examples=100)
def test_without_omega_it_is_credit_by_group_to_the_bit(
    trajectories: list[Trajectory], kind: Any, gamma: float, std: bool
) -> None:
    by_anchor, by_group = anchor_credit(trajectories, kind, gamma, 0.0, std), group_credit(trajectories, kind)
    for a, b in zip(by_anchor, by_group, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


def test_turns_in_the_same_state_are_told_apart_by_what_followed() -> None:
    """Two episodes go through the same room; one leaves it well."""
    won = Trajectory(0, (0.0, 0.0, 1.0), (1, 2, 1), anchors=("start", "room", "door"))
    lost = Trajectory(0, (0.0, 0.0), (1, 1), anchors=("start", "room"))
    wandered = Trajectory(0, (0.0, 0.0, 0.0, 1.0), (1, 1, 1, 1), anchors=("start", "cellar", "room", "door"))
    credit = anchor_credit([won, lost, wandered], "dr_grpo", 0.5, 1.0, std=False)
    whole, start, room = 2 / 3, (0.25 + 0.0 + 0.125) / 3, (0.5 + 0.0 + 0.5) / 3
    assert credit[0].tolist() == pytest.approx(
        [1 - whole + 0.25 - start, *[1 - whole + 0.5 - room] * 2, 1 - whole + 0.0]
    )
    assert credit[1].tolist() == pytest.approx([-whole - start, -whole - room])
    # Nobody else was in the cellar.
    assert credit[2].tolist() == pytest.approx(
        [1 - whole + 0.125 - start, 1 - whole, 1 - whole + 0.5 - room, 1 - whole]
    )


def test_states_of_other_groups_are_no_company() -> None:
    twins = [Trajectory(group, (1.0 * group,), (1,), anchors=("same",)) for group in (0, 1)]
    assert [tokens.tolist() for tokens in anchor_credit(twins, "grpo", 1.0, 1.0, True)] == [[0.0], [0.0]]


def test_single_turns_are_credited_as_their_episodes_twice() -> None:
    """Where an episode is one turn, its only state is the start, and both comparisons are the same."""
    single = [Trajectory(0, (reward,), (2,), anchors=("start",)) for reward in (0.0, 0.1, 1.0)]
    by_group = group_credit(single, "grpo")
    for a, b in zip(anchor_credit(single, "grpo", 0.9, 1.0, True), by_group, strict=True):
        torch.testing.assert_close(a, 2 * b)


def anchored(played: Episode, *anchors: str) -> Episode:
    (turn,) = played.turns
    return replace(played, turns=tuple(replace(turn, anchor=anchor) for anchor in anchors))


def test_metrics_and_note(tiny, episode) -> None:
    config = changed(tiny, "grpo", credit="anchor")
    given = [anchored(episode(1.0), "a", "b", "c"), anchored(episode(0.0), "a", "b", "b")]
    groups = make_groups(given, config)
    metrics = anchor_metrics(t for group in groups for t in group.trajectories)
    assert metrics == {
        "anchor/company": pytest.approx(5 / 6),
        "anchor/size": pytest.approx(2.0),
        OBSERVED: 0.0,
    }
    assert anchor_note(given, metrics, []) == ""

    # Without keys from the environment, equal observations are taken for equal states.
    other = replace(given[0].turns[0], anchor="", observation=[{"role": "user", "content": "2 + 2 = ?"}])
    bare = [
        anchored(episode(1.0), "", ""),
        replace(episode(0.0), turns=(*anchored(episode(0.0), "").turns, other)),
    ]
    trajectories = [t for group in make_groups(bare, config) for t in group.trajectories]
    (first, second), (third, fourth) = (t.anchors for t in trajectories)
    assert first == second == third != fourth
    metrics = anchor_metrics(trajectories)
    assert metrics[OBSERVED] == 1.0
    assert 'no info["anchor"] from ludus/Arithmetic-v0' in anchor_note(bare, metrics, [])
    assert anchor_note(bare, metrics, [{"phase": "grpo", OBSERVED: 0.5}]) == ""


def test_other_credits_make_no_keys(tiny, episode) -> None:
    (group,) = make_groups([episode(1.0), episode(0.0)], tiny)
    assert all(t.anchors == () for t in group.trajectories)
    assert anchor_metrics(group.trajectories) == {}


def test_the_configuration_names_it(tiny, episode) -> None:
    config = changed(tiny, "grpo", credit="anchor", omega=0.5, gamma=0.9, anchor_std=False)
    (group,) = make_groups([anchored(episode(1.0), "a", "b"), anchored(episode(0.0), "a", "c")], config)
    found = assign_credit(group.trajectories, config.grpo)
    expected = anchor_credit(group.trajectories, "grpo", 0.9, 0.5, False)
    assert [a.tolist() for a in found] == [b.tolist() for b in expected]
    assert not math.isclose(found[0][0].item(), found[0][-1].item())


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"omega": 0.5}, 'omega = 0.5 is about comparing turns in the same state, which credit = "group"'),
        ({"anchor_std": False}, "anchor_std = false is about"),
        ({"omega": 0.5, "credit": "turn"}, 'which credit = "turn" does not do'),
        ({"omega": -1.0, "credit": "anchor"}, "omega"),
        ({"gamma": 0.9}, 'take credit = "turn"'),
    ],
)
def test_keys_that_would_do_nothing_are_refused(tiny, keys: dict[str, Any], said: str) -> None:
    dump = tiny.model_dump()
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_config({**dump, "grpo": {**dump["grpo"], **keys}})
