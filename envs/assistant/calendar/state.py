"""The state of an episode of `ludus/Calendar-v0`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ludus.envs.assistant.calendar.goals import Goal
from ludus.envs.assistant.calendar.world import Person
from ludus.envs.assistant.service_env import WorldState
from ludus.tools.services.calendar.shelves import Shelves


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarState(WorldState):
    """The state of an episode."""

    people: Mapping[str, Person]
    """People by address; the first is the user."""
    now: datetime
    goal: Goal
    begun: Shelves
    """The calendars as they were at the beginning."""
    seen: frozenset[tuple[str, datetime]] = frozenset()
    """The goal's needed half hours that have been looked at."""
    damage: float = 0.0
    """What has been charged for unrequested changes."""

    @property
    def user(self) -> Person:
        return next(iter(self.people.values()))


def looked(state: CalendarState, people: Sequence[str], low: datetime, high: datetime) -> CalendarState:
    """The state after people's calendars (by address) were shown from one time to another."""
    new = {need for need in state.goal.needs if need[0] in people and low <= need[1] < high}
    return replace(state, seen=state.seen | new) if new else state
