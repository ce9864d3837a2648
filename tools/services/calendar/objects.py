"""What an object of a calendar is, as its text says: an event with its occurrences, or a to-do."""

import functools
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Literal

from ludus.tools.services.calendar import expand, ics, todos
from ludus.tools.services.calendar.lines import BadCalendar
from ludus.tools.services.calendar.model import Item

Kind = Literal["VEVENT", "VTODO"]
KINDS: tuple[Kind, ...] = ("VEVENT", "VTODO")
"""The components that are kept."""


class BadKind(BadCalendar):
    """An object of a kind that is not kept."""


@dataclass(frozen=True, slots=True)
class Object:
    """An event or a to-do, with the occurrences of its series that are different."""

    kind: Kind
    uid: str
    item: Item | None
    """When it takes place; None for a to-do that has neither a start nor an end."""
    todo: todos.Todo | None = None

    def takes_place(self, start: datetime, end: datetime, zone: tzinfo) -> bool:
        """Whether any part of it lies between two times, as RFC 4791, 9.9 defines it."""
        if self.todo is not None:
            return todos.takes_place(self.todo, start, end, zone)
        assert self.item is not None
        return expand.takes_place(self.item, start, end, zone)


@functools.lru_cache(maxsize=20_000)
def read(text: str) -> Object:
    """The object that a text holds. Results are cached.

    Raises:
        BadKind: it holds something else than an event or a to-do.
        BadCalendar: see `ics.read`, which holds for to-dos, too.
    """
    item = ics.written_from(text)
    if item is not None:
        return Object("VEVENT", item.uid, item)
    found = {inner.name for inner in ics.component(text).inner} - {"VTIMEZONE"}
    if len(found) > 1:
        raise BadCalendar(
            f"it holds {' and '.join(sorted(found))[:100]}; an object of a calendar is of one kind"
        )
    if found == {"VTODO"}:
        todo = todos.read(text)
        return Object("VTODO", todo.uid, todo.item, todo)
    if found and found != {"VEVENT"}:
        raise BadKind(f"a {found.pop()[:40]} is not kept here; {' and '.join(KINDS)} are")
    item = ics.read(text)
    return Object("VEVENT", item.uid, item)
