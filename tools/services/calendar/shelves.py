"""What the calendar service holds: immutable values, from which a write makes new ones."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from ludus.tools.services.calendar import ics
from ludus.tools.services.calendar.model import Calendar, Item, resource_name
from ludus.tools.services.calendar.objects import KINDS, Kind

MAX_CHANGES = 1000
"""How many writes a calendar remembers. Sync tokens from before them are no longer valid."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write of an object."""

    name: str
    etag: str
    """Of the new text; empty if the object was deleted."""
    is_new: bool
    """Whether there was no such object before."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A person's calendar: its objects as text, by resource name."""

    calendar: Calendar
    objects: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    """Properties that clients keep here, as XML, by `{namespace}name`: a colour, a description."""
    kinds: tuple[Kind, ...] = KINDS
    """The components that it takes."""
    begun: Mapping[str, str] | None = None
    """The objects before `changes`; None when nothing has changed."""
    changes: tuple[Change, ...] = ()

    def with_object(self, name: str, text: str | None) -> "Shelf":
        """The calendar after a write; None deletes the object."""
        objects = {**self.objects}
        if text is None:
            del objects[name]
        else:
            objects[name] = text
        change = Change(name, "" if text is None else etag(text), name not in self.objects)
        begun, changes = self.begun, self.changes
        if begun is None or len(changes) >= MAX_CHANGES:
            begun, changes = self.objects, ()
        return replace(self, objects=objects, begun=begun, changes=(*changes, change))

    def tokens(self) -> list[str]:
        """The sync tokens (RFC 6578) of the states before, between and after `changes`. Each identifies the
        content at that time and the way there, so that no other calendar's is taken for one of these."""
        begun = self.objects if self.begun is None else self.begun
        digest = blake2b(digest_size=12)
        for name in sorted(begun):
            digest.update(f"{name}\0{etag(begun[name])}\0".encode("utf-8", "surrogatepass"))
        tokens = [_token(digest.hexdigest())]
        for change in self.changes:
            digest.update(f"{change.name}\0{change.etag}\0".encode("utf-8", "surrogatepass"))
            tokens.append(_token(digest.hexdigest()))
        return tokens

    def changed_since(self, token: str) -> dict[str, bool] | None:
        """The names of the objects that were written since a token was valid, each with whether it is there
        now; without those that came and went. None if no state that is remembered had this token."""
        tokens = self.tokens()
        if token not in tokens:
            return None
        # The first change of each object says whether it was there.
        were_new: dict[str, bool] = {}
        for change in self.changes[tokens.index(token) :]:
            were_new.setdefault(change.name, change.is_new)
        return {
            name: name in self.objects
            for name, was_new in were_new.items()
            if name in self.objects or not was_new
        }


def _token(digest: str) -> str:
    return f"urn:ludus:sync:{digest}"


@dataclass(frozen=True, slots=True)
class Shelves:
    """All calendars, by person, and their state before the last write."""

    by_person: Mapping[str, Shelf] = field(default_factory=dict)
    before: "Shelves | None" = None

    def with_shelf(self, shelf: Shelf) -> "Shelves":
        return Shelves({**self.by_person, shelf.calendar.person: shelf}, Shelves(self.by_person))

    def without(self, person: str) -> "Shelves":
        rest = {name: shelf for name, shelf in self.by_person.items() if name != person}
        return Shelves(rest, Shelves(self.by_person))


def shelf(calendar: Calendar, items: Iterable[Item] = ()) -> Shelf:
    """A calendar with objects in it."""
    return Shelf(calendar, {resource_name(item.uid): ics.write(item) for item in items})


@functools.lru_cache(maxsize=8192)
def etag(text: str) -> str:
    """A strong entity tag: equal texts have equal tags."""
    return f'"{blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()}"'
