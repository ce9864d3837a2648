"""The oracle reaches every goal that is drawn, whatever the arguments: `reset` plays it only where faults are
injected."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from ludus.envs.assistant.calendar.environment import Calendar
from ludus.envs.assistant.calendar.kinds import KINDS as CALENDAR_KINDS
from ludus.envs.assistant.calendar.scripted import Oracle as CalendarOracle
from ludus.envs.assistant.office.environment import Assistant
from ludus.envs.assistant.office.scripted import Oracle as AssistantOracle
from ludus.envs.assistant.office.tasks import KINDS as ASSISTANT_KINDS
from ludus.envs.assistant.service_env import solves
from ludus.envs.errors import ArgumentError

SEEDS = st.integers(0, 2**63 - 1)
COMMON: dict[str, Any] = {
    "distractors": st.integers(0, 16),
    "renamed": st.just(False) | st.integers(1, 99),
    "milestones": st.booleans(),
}
CALENDARS = st.fixed_dictionaries(
    {
        "kinds": st.sampled_from(list(CALENDAR_KINDS)).map(lambda kind: [kind]),
        "people": st.integers(2, 12),
        "zones": st.integers(1, 4),
        "busyness": st.floats(0, 0.8),
        "recurrence": st.integers(0, 4),
        "lookalikes": st.integers(0, 10),
        **COMMON,
    }
)
OFFICES = st.fixed_dictionaries(
    {
        "kinds": st.sampled_from(list(ASSISTANT_KINDS)).map(lambda kind: [kind]),
        "vague": st.floats(0, 1),
        "injections": st.floats(0, 1),
        "news": st.integers(0, 20),
        "world": st.integers(0, 1),
        **COMMON,
    }
)


def check_calendar(arguments: dict[str, Any], seed: int) -> None:
    env = Calendar(**arguments)
    try:
        begun = env.start(np.random.default_rng(seed), {})
    except ArgumentError:
        reject()  # Some arguments leave no goal of a kind, such as invitations without a conflict.
    assert solves(env, begun, CalendarOracle(env))


def check_assistant(arguments: dict[str, Any], seed: int) -> None:
    env = Assistant(**arguments)
    assert solves(env, env.start(np.random.default_rng(seed), {}), AssistantOracle(env))


@given(CALENDARS, SEEDS)
@settings(max_examples=60)
def test_every_goal_of_the_calendar_is_reached(arguments: dict[str, Any], seed: int) -> None:
    check_calendar(arguments, seed)


@given(OFFICES, SEEDS)
@settings(max_examples=60)
def test_every_goal_of_the_assistant_is_reached(arguments: dict[str, Any], seed: int) -> None:
    check_assistant(arguments, seed)


@pytest.mark.slow
@given(CALENDARS, SEEDS)
@settings(max_examples=2_000)
def test_thousands_of_goals_of_the_calendar_are_reached(arguments: dict[str, Any], seed: int) -> None:
    check_calendar(arguments, seed)


@pytest.mark.slow
@given(OFFICES, SEEDS)
@settings(max_examples=2_000)
def test_thousands_of_goals_of_the_assistant_are_reached(arguments: dict[str, Any], seed: int) -> None:
    check_assistant(arguments, seed)
