"""Where an episode of `ludus/Calendar-v0` stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ludus.envs.assistant.calendar.goals import Goal
from ludus.envs.assistant.calendar.world import Person
from ludus.envs.assistant.service_env import WorldState
from ludus.tools.services.calendar.service import Shelves


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarState(WorldState):
    """Where an episode stands."""

    people: Mapping[str, Person]
    """By address; the first is the user."""
    now: datetime
    goal: Goal
    begun: Shelves
    """The calendars as they were in the beginning."""
    seen: frozenset[tuple[str, datetime]] = frozenset()
    """Which of the half hours that the goal needs have been looked at."""
    damage: float = 0.0
    """What has been charged for changes that nobody asked for."""

    @property
    def user(self) -> Person:
        return next(iter(self.people.values()))


def looked(state: CalendarState, people: Sequence[str], low: datetime, high: datetime) -> CalendarState:
    """The state after the calendars of people (addresses) were shown from one time to another."""
    new = {need for need in state.goal.needs if need[0] in people and low <= need[1] < high}
    return replace(state, seen=state.seen | new) if new else state
