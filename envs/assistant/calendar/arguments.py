"""Reads what the agent writes: times, people and answers."""

import re
from datetime import date, datetime
from zoneinfo import ZoneInfo

from ludus.envs.assistant.calendar.state import CalendarState
from ludus.envs.assistant.calendar.world import Person
from ludus.tools.errors import ToolError
from ludus.tools.services.calendar.zones import is_iana


def same_answer(expected: str, given: str) -> bool:
    """Whether an answer (a number or a time of day) is exactly the expected one."""
    text = given.strip().rstrip(".")
    if ":" in expected:
        found = re.fullmatch(r"(?:\d{4}-\d\d-\d\d[T ])?(\d\d?):(\d\d)(?::00)?(?:Z|[+-]\d\d:\d\d)?", text)
        return found is not None and f"{int(found[1]):02}:{found[2]}" == expected
    found = re.fullmatch(r"(\d+)(?: ?min(?:ute)?s?)?", text)
    return found is not None and str(int(found[1][:9])) == expected and len(found[1]) < 9


def read_time(state: CalendarState, text: str, name: str, zone: str = "") -> datetime:
    """A time given by the agent, in the intended zone."""
    if zone and not is_iana(zone):
        raise ToolError(f"zone={zone[:60]!r} is no time zone; give an IANA name such as {state.user.zone!r}")
    clock = ZoneInfo(zone) if zone else state.user.clock
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is not None:
            moment = moment.astimezone(clock)
    except (ValueError, OverflowError):
        raise ToolError(
            f"{name}={text[:60]!r} is no time; write ISO 8601, as in {state.now:%Y-%m-%dT%H:%M}"
        ) from None
    moment = moment.replace(tzinfo=clock, second=0, microsecond=0)
    if not date(1990, 1, 1) < moment.date() < date(2090, 1, 1):
        raise ToolError(f"{name}={text[:60]!r} is too far away; it is {state.now.year} now")
    return moment


def read_occurrence(state: CalendarState, occurrence: str, following: bool) -> datetime | None:
    if not occurrence.strip():
        if following:
            raise ToolError("following needs an occurrence: the first of the dates that are meant")
        return None
    return read_time(state, occurrence, "occurrence")


def read_person(state: CalendarState, text: str) -> Person:
    """The person with this address, this name, or this first or last name if nobody else shares it."""
    wanted = text.strip().casefold().removeprefix("mailto:")
    for person in state.people.values():
        if wanted in (person.address, person.name.casefold()):
            return person
    found = [person for person in state.people.values() if wanted in person.name.casefold().split()]
    if len(found) == 1:
        return found[0]
    there = ", ".join(f"{person.name} <{person.address}>" for person in state.people.values())
    raise ToolError(f"{text[:60]!r} {'could be several' if found else 'is nobody here'}; there are {there}")
