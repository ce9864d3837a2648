"""To-dos (RFC 5545, 3.6.2): when they are due, and when that counts as a time (RFC 4791, 9.9)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from ludus.tools.services.calendar import expand, ics
from ludus.tools.services.calendar.ics import Component
from ludus.tools.services.calendar.lines import BadCalendar, Line, read_line, unescaped
from ludus.tools.services.calendar.model import Item, Moment, aware

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Todo:
    """A to-do, with the occurrences of its series that are different."""

    uid: str
    item: Item | None
    """It as an event from its start until it is due; None if it has neither."""
    has_start: bool
    has_duration: bool
    has_end: bool
    """Whether it is due at a time, or has a duration."""
    created: Moment | None
    completed: Moment | None


def read(text: str) -> Todo:
    """
    Raises:
        BadCalendar: it is not a VCALENDAR with VTODOs of one UID, or has a date or rule that makes no sense.
    """
    ics.check_characters(text)
    calendar = ics.component(text)
    parts = [inner for inner in calendar.inner if inner.name == "VTODO"]
    lines = [{line.name: line for line in map(read_line, part.lines)} for part in parts]
    uids = {line["UID"].value if "UID" in line else "" for line in lines}
    if len(uids) != 1 or "" in uids:
        raise BadCalendar("its VTODOs have no UID, or different ones; an object of a calendar has one")
    main = next((line for line in lines if "RECURRENCE-ID" not in line), lines[0])
    zones = ics.own_zones(calendar)
    moments = {
        name: ics.moment_of(main[name], zones) if name in main else None
        for name in ("DUE", "CREATED", "COMPLETED")
    }
    item = None
    if all("DTSTART" in line or "DUE" in line for line in lines):
        events = [_as_event(part, line) for part, line in zip(parts, lines, strict=True)]
        others = [inner for inner in calendar.inner if inner.name != "VTODO"]
        item = ics.item_of(Component("VCALENDAR", calendar.lines, [*others, *events]))
    elif any("RRULE" in line or "RDATE" in line for line in lines):
        raise BadCalendar("a VTODO repeats, and has no DTSTART")
    return Todo(
        uid=unescaped(uids.pop()),
        item=item,
        has_start="DTSTART" in main,
        has_duration="DURATION" in main,
        has_end="DUE" in main or "DURATION" in main,
        created=moments["CREATED"],
        completed=moments["COMPLETED"],
    )


def _as_event(part: Component, lines: Mapping[str, Line]) -> Component:
    """A VEVENT that takes place from a to-do's start until it is due; without a start, when it is due."""
    event = Component("VEVENT", [], part.inner)
    for raw in part.lines:
        name = read_line(raw).name
        if name == "DUE":
            event.lines.append(f"DTEND{raw[len(name) :]}")
            if "DTSTART" not in lines:
                event.lines.append(f"DTSTART{raw[len(name) :]}")
        elif name != "DTEND":
            event.lines.append(raw)
    return event


def takes_place(todo: Todo, start: datetime, end: datetime, zone: tzinfo) -> bool:
    """Whether a to-do overlaps the time between two times: the table of RFC 4791, 9.9."""
    if todo.item is not None:
        around = expand.stepped(todo.item, start - SECOND, end + SECOND, zone)
        return any(_overlaps(todo, event.start, event.end, start, end) for event in around)
    created, completed = (
        None if moment is None else aware(moment, zone) for moment in (todo.created, todo.completed)
    )
    if completed is not None and created is not None:
        return (start <= created or start <= completed) and (end >= created or end >= completed)
    if completed is not None:
        return start <= completed <= end
    return created is None or end > created


def _overlaps(todo: Todo, begins: datetime, ends: datetime, start: datetime, end: datetime) -> bool:
    if not todo.has_start:
        return start < ends <= end
    if not todo.has_end:
        return start <= begins < end
    reaches = start <= ends if todo.has_duration else start < ends or start <= begins
    return reaches and (end > begins or end >= ends)
