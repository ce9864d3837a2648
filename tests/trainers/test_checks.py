"""Alarms: a collapse stops the run, a healthy run never does; faults caused by actions are reported."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ludus.agents.episode import Episode, StopReason
from ludus.trainers.checks.faults import check_fault_share, faults_by_action
from ludus.trainers.checks.reward_fall import check_collapse
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import RunError, TrainingDiverged

from .conftest import changed

Make = Callable[..., Episode]
Line = dict[str, float | str]


def measured(success: float, groups: int, rng: random.Random) -> Line:
    """A step of `groups` groups of 8, whose tasks differ in how hard they are."""
    means = []
    for _ in range(groups):
        easy = min(1.0, max(0.0, rng.gauss(success, 0.3)))
        means.append(sum(rng.random() < easy for _ in range(8)) / 8)
    mean = sum(means) / groups
    error = (sum((value - mean) ** 2 for value in means) / (groups - 1) / groups) ** 0.5
    return {"reward": mean, "reward_error": error, "reward_std": (mean * (1 - mean)) ** 0.5}


@pytest.mark.parametrize("groups", [8, 16, 32, 128])
def test_healthy_runs_raise_no_alarm(groups: int, tiny: RunConfig) -> None:
    """1,000 steps each of a plateau, of a slow rise and of a rise that gives a fifth of it back."""
    rng = random.Random(groups)
    for course in (
        lambda step: 0.5,
        lambda step: 0.1 + 0.8 * step / 1000,
        lambda step: 0.1 + 0.8 * min(step, 400) / 400 - 0.16 * max(0, step - 400) / 600,
    ):
        history: list[Line] = []
        for step in range(1000):
            history.append(measured(course(step), groups, rng))
            check_collapse(history[-200:], tiny.grpo, step)


@pytest.mark.parametrize("groups", [8, 16, 32, 128])
def test_a_collapse_stops_the_run_within_two_steps(groups: int, tiny: RunConfig) -> None:
    rng = random.Random(groups)
    history = [measured(success, groups, rng) for success in (0.91, 0.9, 0.88, 0.1)]
    check_collapse(history[:3], tiny.grpo, 2)
    history.append(measured(0.08, groups, rng))
    with pytest.raises(
        TrainingDiverged, match=r"GRPO step 5: the mean reward of the last 2 steps .*learning_rate"
    ):
        check_collapse(history, tiny.grpo, 4)
    check_collapse(history, changed(tiny, "grpo", collapse_limit=0.0).grpo, 4)


def test_a_collapse_that_was_seen_is_one(tiny: RunConfig) -> None:
    """Guess-v0 at a learning rate of 1e-3, 16 groups of 8: the second step has undone what priming taught."""
    seen = [(0.955, 0.028, 0.222), (0.192, 0.139, 0.717), (0.334, 0.144, 0.637), (0.088, 0.064, 0.432)]
    names = ("reward", "reward_error", "reward_std")
    history: list[Line] = [dict(zip(names, step, strict=True)) for step in seen]
    check_collapse(history[:2], tiny.grpo, 1)
    for steps in (3, 4):
        with pytest.raises(TrainingDiverged, match=f"GRPO step {steps}: .* after 0.955 in the best step"):
            check_collapse(history[:steps], tiny.grpo, steps - 1)


def test_a_step_without_groups_is_passed_over(tiny: RunConfig) -> None:
    check_collapse([{"fault_share": 1.0}] * 9, tiny.grpo, 8)


def test_many_faults_stop_the_run_with_the_usual_cause(episode: Make, tiny: RunConfig) -> None:
    fault = episode(0.0, stop=StopReason.ENVIRONMENT_FAULT)
    check_fault_share([fault, *[episode(1.0)] * 4], tiny.grpo, "GRPO step 1")
    with pytest.raises(
        RunError, match=r"GRPO step 3: 2 of 6 episodes faulted \(33%\).*2 of them with: the server died"
    ):
        check_fault_share([fault, fault, *[episode(1.0)] * 4], tiny.grpo, "GRPO step 3")


def calling(made: Episode, *tools: str, arguments: str = "{}") -> Episode:
    """The episode with a turn for each tool, called in it."""
    (turn,) = made.turns
    replies: list[Any] = [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": name, "arguments": arguments}}],
        }
        for name in tools
    ]
    return replace(made, turns=tuple(replace(turn, reply=reply) for reply in replies))


def test_faults_that_follow_a_tool_are_told(episode: Make) -> None:
    intact = [calling(episode(1.0), "look", "look", "create_event") for _ in range(10)]
    intact += [calling(episode(1.0), "look", "look", "look") for _ in range(40)]
    fault = episode(0.0, stop=StopReason.ENVIRONMENT_FAULT)
    broken = [calling(fault, "look", "create_event") for _ in range(7)]
    told = faults_by_action([*intact, *broken])
    assert "7 of 7 environment faults came after a call of create_event, which is 10% of all turns" in told
    assert faults_by_action(intact) == ""
    assert faults_by_action([*intact, *broken[:2]]) == ""  # two may be chance
    elsewhere = [calling(fault, "create_event", "look") for _ in range(7)]
    assert faults_by_action([*intact, *elsewhere]) == ""


def test_faults_that_follow_unprintable_characters_are_told(episode: Make) -> None:
    intact = [calling(episode(1.0), "create_event") for _ in range(50)]
    fault = episode(0.0, stop=StopReason.ENVIRONMENT_FAULT)
    for arguments in ('{"title": "x\\u000b"}', '{"title": "x\ufffe"}', '{"title": "\ud800"}'):
        broken = [calling(fault, "create_event", arguments=arguments) for _ in range(5)]
        assert "5 of 5 environment faults came after characters that cannot be printed" in faults_by_action(
            [*intact, *broken]
        )


def test_an_engines_faults_are_not_the_policys(episode: Make) -> None:
    broken = [calling(episode(0.0, stop=StopReason.ENGINE_FAULT), "create_event") for _ in range(9)]
    assert faults_by_action([*[calling(episode(1.0), "look")] * 50, *broken]) == ""
