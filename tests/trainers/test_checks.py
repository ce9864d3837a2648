"""Alarms: a collapse stops the run, a healthy run never does; faults caused by actions are reported."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.trainers.checks.drift import drift_readings
from ludus.trainers.checks.faults import fault_share, faults_by_action, faults_by_reward
from ludus.trainers.checks.numerics import spike_reading, value_reading
from ludus.trainers.checks.registry import CHECKS
from ludus.trainers.checks.reward_fall import reward_fall
from ludus.trainers.checks.samples import improbability_of_repeats
from ludus.trainers.checks.trust import Readings, alarm
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.trust import TrustSection

LIMITS = TrustSection()

Make = Callable[..., Episode]
Line = dict[str, float | str]


def alarms(readings: Readings, step: int = 1) -> dict[str, str]:
    """What rings at the usual limits."""
    told = {name: alarm(CHECKS[name], it, LIMITS, f"GRPO step {step}") for name, it in readings.items()}
    return {name: message for name, message in told.items() if message}


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
def test_healthy_runs_raise_no_alarm(groups: int) -> None:
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
            assert not alarms(reward_fall(history[-200:]))


@pytest.mark.parametrize("groups", [8, 16, 32, 128])
def test_a_collapse_rings_within_two_steps(groups: int) -> None:
    rng = random.Random(groups)
    history = [measured(success, groups, rng) for success in (0.91, 0.9, 0.88, 0.1)]
    assert not alarms(reward_fall(history[:3]))
    history.append(measured(0.08, groups, rng))
    assert "grpo.learning_rate" in alarms(reward_fall(history))["reward_fall"]


def test_a_collapse_that_was_seen_is_one() -> None:
    """Guess-v0 at a learning rate of 1e-3, 16 groups of 8: the second step has undone what priming taught."""
    seen = [(0.955, 0.028, 0.222), (0.192, 0.139, 0.717), (0.334, 0.144, 0.637), (0.088, 0.064, 0.432)]
    names = ("reward", "reward_error", "reward_std")
    history: list[Line] = [dict(zip(names, step, strict=True)) for step in seen]
    assert not alarms(reward_fall(history[:2]))
    for steps in (3, 4):
        told = alarms(reward_fall(history[:steps]), steps)["reward_fall"]
        assert told.startswith(f"GRPO step {steps}: reward_fall = ")
        assert "after 0.955 in the best step" in told


def test_a_step_without_groups_is_passed_over() -> None:
    assert reward_fall([{"fault_share": 1.0}] * 9) == {}


def test_many_faults_ring_with_the_usual_cause(episode: Make) -> None:
    fault = episode(0.0, stop=StopReason.ENVIRONMENT_FAULT)
    assert not alarms({"fault_share": fault_share([fault, *[episode(1.0)] * 4])})
    told = alarms({"fault_share": fault_share([fault, fault, *[episode(1.0)] * 4])}, 3)["fault_share"]
    assert told.startswith("GRPO step 3: fault_share = 0.333 is above trust.fault_share = 0.2 (2 of 6 ")
    assert "2 of them with: the server died" in told


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
    assert (
        told.detail
        == "7 of 7 environment faults came after a call of create_event, which is 10% of all turns"
    )
    assert alarms({"faults_by_action": told})
    elsewhere = [calling(fault, "create_event", "look") for _ in range(7)]
    for harmless in (intact, [*intact, *broken[:2]], [*intact, *elsewhere]):  # two may be chance
        assert not alarms({"faults_by_action": faults_by_action(harmless)})


def test_faults_that_follow_unprintable_characters_are_told(episode: Make) -> None:
    intact = [calling(episode(1.0), "create_event") for _ in range(50)]
    fault = episode(0.0, stop=StopReason.ENVIRONMENT_FAULT)
    for arguments in ('{"title": "x\\u000b"}', '{"title": "x\ufffe"}', '{"title": "\ud800"}'):
        broken = [calling(fault, "create_event", arguments=arguments) for _ in range(5)]
        told = faults_by_action([*intact, *broken]).detail
        assert "5 of 5 environment faults came after characters that cannot be printed" in told


def test_an_engines_faults_are_not_the_policys(episode: Make) -> None:
    broken = [calling(episode(0.0, stop=StopReason.ENGINE_FAULT), "create_event") for _ in range(9)]
    assert faults_by_action([*[calling(episode(1.0), "look")] * 50, *broken]).value == 0


def test_faults_that_follow_hard_tasks_are_told(episode: Make) -> None:
    def group(number: int, faults: int) -> list[Episode]:
        broken = [episode(0.0, number, stop=StopReason.ENVIRONMENT_FAULT)] * faults
        return [*broken, *[episode(float(number % 2), number)] * (8 - faults)]

    hard = [e for number in range(16) for e in group(number, 2 * (number % 2 == 0 and number > 0))]
    # The median group earns something between; without one, both halves are on a side.
    hard += [episode(0.5, 16)] * 8
    told = faults_by_reward(hard)
    assert told.detail == "14 of 14 faults are in the groups that earn less than the median"
    assert told.value > 3
    anywhere = [e for number in range(16) for e in group(number, 1)] + [episode(0.5, 16)] * 8
    assert not alarms({"faults_by_reward": faults_by_reward(anywhere)})


def test_equal_samples_of_improbable_tokens_are_no_chance(episode: Make) -> None:
    def of(number: int, sample: int, first: int, logprob: float) -> Episode:
        made = episode(1.0, number, sample=sample)
        (turn,) = made.turns
        turn = replace(turn, completion_ids=(first, 21, 22), logprobs=(logprob, 0.0, 0.0))
        return replace(made, turns=(turn,))

    different = [of(group, sample, 30 + sample, -3.0) for group in range(8) for sample in range(8)]
    assert improbability_of_repeats(different) == 0
    # Each repeats with probability 1/2; all do, in one group of 8, with 1/128.
    likely = [of(0, sample, 30, -0.6931) for sample in range(8)]
    assert 0 < improbability_of_repeats(likely) < 3
    assert improbability_of_repeats([of(0, sample, 30, 0.0) for sample in range(8)]) == 0
    same = [of(group, sample, 30, -3.0) for group in range(2) for sample in range(8)]
    # exp(14 - 14 p - 14 ln(1 / p)) for p = e⁻³: the exact chance is p¹⁴.
    assert improbability_of_repeats(same) == pytest.approx((14 * 3 - 14 + 14 * 2.718281828**-3) / 2.302585093)


@pytest.mark.parametrize("probability", [0.02, 0.3, 0.9])
def test_chance_alone_repeats_no_more_than_the_bound_says(probability: float) -> None:
    """A reading of 2 or more comes by chance with probability 1/100 at most."""
    rng = random.Random(1)
    high = 0
    for _ in range(40):
        played = []
        for number in range(64):
            first, chance = (1, probability) if rng.random() < probability else (2, 1 - probability)
            reply = {"role": "assistant", "content": ""}
            turn = Turn([], reply, 0.0, {}, (1,), (first,), (math.log(chance),))
            place = {"group": number // 8, "sample": number % 8}
            played.append(Episode("e", {}, 0, "t", (turn,), StopReason.TERMINATED, **place))
        high += improbability_of_repeats(played) >= 2
    assert high <= 2


def test_a_spike_is_many_times_the_median() -> None:
    steps: list[Line] = [{"grad_norm": 1.0 + 0.1 * (step % 3)} for step in range(40)]
    assert spike_reading(1e9, steps[:7]) == {}
    assert not alarms(spike_reading(3.0, steps))
    assert "continue with --resume" in alarms(spike_reading(60.0, steps))["gradient_spike"]
    assert not alarms(spike_reading(1.0, [{"fault_share": 0.0}] * 40))


def test_a_value_model_worse_than_a_constant_rings() -> None:
    def steps(*values: float) -> list[Line]:
        return [{"critic/explained_variance": value} for value in values]

    assert value_reading(steps(*[-1.0] * 63), 0) == {}
    assert not alarms(value_reading(steps(*[-1.0] * 40, *[0.3] * 31, -90.0), 0))  # one step is bounded
    assert not alarms(value_reading(steps(*[-0.1] * 64), 0))
    assert "critic.lead_steps" in alarms(value_reading(steps(*[-0.3] * 64), 0))["explained_variance"]
    assert value_reading(steps(*[-0.3] * 64), 1) == {}


def test_courses_ring() -> None:
    config = GrpoSection(groups=16)
    healthy: Line = {
        "cut": 0.5,
        "flat_unsolved": 0.4,
        "completion_tokens": 20.0,
        "success": 0.5,
        "form/tags": 0.5,
    }
    steps = [healthy | {"success": 0.5 + 0.02 * (step % 3)} for step in range(30)]
    assert drift_readings(steps, config).keys() == {
        "truncation",
        "flat_groups",
        "length_drift",
        "form_over_success",
    }
    assert not alarms(drift_readings(steps, config))
    for changes, name in (
        ({"cut": 1.0}, "truncation"),
        ({"flat_unsolved": 1.0}, "flat_groups"),
        ({"completion_tokens": 200.0}, "length_drift"),
        ({"completion_tokens": 1.0}, "length_drift"),
        ({"success": 0.1, "form/tags": 0.9}, "form_over_success"),
    ):
        course = [*steps, *[healthy | changes] * 8]
        assert alarms(drift_readings(course, config)).keys() == {name}
        assert not alarms(drift_readings([*steps, healthy | changes], config))
    assert not alarms(drift_readings([*steps, *[healthy | {"success": 0.1}] * 8], config))
    assert not alarms(drift_readings([*steps, *[healthy | {"form/tags": 0.9}] * 8], config))
