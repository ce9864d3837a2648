"""A client for any CalDAV server: calendars of several people, and meetings with a copy in each."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

import httpx

from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.services.calendar import edit, expand, ics
from ludus.tools.services.calendar.dav import requests
from ludus.tools.services.calendar.dav.xml import BadXml
from ludus.tools.services.calendar.lines import BadCalendar
from ludus.tools.services.calendar.model import (
    STATUSES,
    Attendee,
    Busy,
    Calendar,
    Event,
    Item,
    Moment,
    Status,
    VEvent,
    aware,
    exactly,
    lasting,
    resource_name,
)
from ludus.tools.services.calendar.rules import FIRST_YEAR, LAST_YEAR, CannotMove
from ludus.tools.services.calendar.zones import is_iana
from ludus.tools.services.client import Refused, ask
from ludus.tools.text import carried

_LOG = logging.getLogger(__name__)
ANY = "*"
"""In place of an object's version: matches any version, or none at all."""
MAX_SKIPPED = 1000
_XML = {"content-type": "application/xml; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as stored on the server."""

    item: Item
    etag: str
    """Identifies this version: a write with it fails if somebody else has written in the meantime."""
    name: str
    """The resource's name within the calendar."""


def _now() -> datetime:
    return datetime.now(UTC)


class CalendarClient:
    """Reads and writes people's calendars on a CalDAV server.

    A person is the name of a collection below the base URL, by convention an e-mail address. A meeting is one
    object, with one UID, in the calendar of everybody invited. The methods that change meetings write every
    copy, the person's own last: if one write fails, calling the method again completes the change. Invited
    people without a calendar on the server have no copy.

    Every method raises `ToolError` for what the caller can fix, and `ToolFault` if there is no CalDAV server.
    An object on the server that cannot be parsed affects nothing else: `events` and `free_busy` leave it out,
    `skipped` names it, and it is logged once.

    Args:
        http: a client whose base URL is the collection of the calendars (see
            `ludus.tools.services.connect`).
        now: the current time, for time stamps: the service's virtual clock, or the real time.
    """

    def __init__(self, http: httpx.Client, now: Callable[[], datetime] = _now) -> None:
        self._http = http
        self._now = now
        self.skipped: dict[str, str] = {}
        """Why objects were left out, by address."""

    # Calendars

    def calendars(self) -> list[Calendar]:
        """All calendars, ordered by address."""
        headers = {**_XML, "depth": "1"}
        body = _ask(self._http, "PROPFIND", "", content=requests.COLLECTIONS, headers=headers).content
        found = [
            _calendar(member)
            for member in _read(self._http, requests.read_collections, body)
            if member.is_calendar
        ]
        return sorted(found, key=lambda calendar: calendar.person)

    def calendar(self, person: str) -> Calendar:
        """One person's calendar."""
        headers = {**_XML, "depth": "0"}
        body = self._ask("PROPFIND", person, content=requests.COLLECTIONS, headers=headers).content
        found = _read(self._http, requests.read_collections, body)
        if not found:
            raise Refused(f"there is no calendar of {person!r}", 404)
        return _calendar(found[0])

    def make_calendar(self, person: str, name: str, zone: str = "UTC") -> Calendar:
        """Give a person a calendar.

        Args:
            zone: IANA name of the person's time zone.
        """
        if not is_iana(carried("zone", zone)):
            raise ToolError(f"there is no time zone {zone[:60]!r}; give an IANA name such as 'Europe/Berlin'")
        name = carried("name", name)
        body = requests.make_calendar(name, ics.timezone(zone))
        self._ask("MKCALENDAR", person, content=body, headers=_XML)
        return Calendar(person, name, zone)

    # Objects

    def get(self, person: str, uid: str) -> Stored:
        """The object with a UID in a person's calendar.

        Raises:
            Refused: with status 404, if there is no such object.
        """
        name = resource_name(carried("uid", uid))
        try:
            response = self._ask("GET", person, name)
        except Refused as refusal:
            if refusal.status != 404:
                raise
        else:
            item = self._item(response.text, str(response.url))
            return Stored(item, response.headers.get("etag", ""), name)
        # Other programs name their resources as they like.
        for found in self._query(person, requests.query_uid(uid)):
            other = self._understood(found)
            if other is not None and other.uid == uid:
                return Stored(other, found.etag, unquote(found.href.rstrip("/").rpartition("/")[2]))
        raise Refused(f"there is no event {uid!r} in the calendar of {person}", 404)

    def put(self, person: str, item: Item, *, etag: str | None = None, name: str | None = None) -> str:
        """Write an object into a person's calendar.

        Args:
            etag: the version that it replaces, or `ANY`; without it, the object must not exist yet. name: the
                resource's name, if it does not follow from the UID.

        Returns:
            The new version.

        Raises:
            Refused: with status 412, if somebody else has written in the meantime, or it already exists.
        """
        condition = {"if-none-match": "*"} if etag is None else {} if etag == ANY else {"if-match": etag}
        try:
            text = ics.write(edit.stamped(item, self._now()))
            # Write only what can be read back.
            ics.read(text)
        except BadCalendar as error:
            raise ToolError(f"this cannot be written into a calendar: {error}") from None
        headers = {"content-type": "text/calendar; charset=utf-8", **condition}
        response = self._ask(
            "PUT", person, name or resource_name(item.uid), content=text.encode(), headers=headers
        )
        return str(response.headers.get("etag", ""))

    def delete(self, person: str, uid: str, etag: str | None = None) -> None:
        """Remove an object from a person's calendar; with `etag`, only that version."""
        name = self.get(person, uid).name
        self._ask("DELETE", person, name, headers={} if etag is None else {"if-match": etag})

    # Events

    def events(self, person: str, start: datetime, end: datetime) -> list[Event]:
        """The events in a person's calendar between two times, in order, with series expanded, including
        cancelled and declined ones. An event counts if any part of it lies between the two."""
        # Servers disagree on when a whole day begins: an extra day on either side makes that irrelevant.
        start, end = _time("start", start), _time("end", end)
        query = requests.query_time(start - expand.MARGIN, end + expand.MARGIN)
        understood = (self._understood(found) for found in self._query(person, query))
        items = [item for item in understood if item is not None]
        zone = self._zone(person) if any(map(_is_floating, items)) else UTC
        try:
            return expand.events(items, start, end, zone)
        except ValueError as error:
            raise ToolError(str(error)) from None

    def free_busy(self, people: Iterable[str], start: datetime, end: datetime) -> dict[str, list[Busy]]:
        """When people are busy between two times, merged and in order. Transparent, cancelled and declined
        entries take no time."""
        return {person: expand.busy(self.events(person, start, end), person, start, end) for person in people}

    # Meetings

    def create(
        self,
        person: str,
        uid: str,
        summary: str,
        start: Moment,
        end: Moment,
        *,
        attendees: Sequence[Attendee] = (),
        rule: str = "",
        location: str = "",
        description: str = "",
    ) -> Item:
        """Add an event to a person's calendar and, as an invitation, to those of the attendees."""
        main = VEvent(
            uid=carried("uid", uid),
            start=_moment("start", start),
            end=_moment("end", end),
            summary=carried("summary", summary),
            rule=carried("rule", rule),
            location=carried("location", location),
            description=carried("description", description),
        )
        item = Item(main)
        if attendees:
            item = edit.invited(item, Attendee(person, status="accepted"), tuple(attendees))
        self._write(person, item)
        return item

    def invite(self, person: str, uid: str, attendees: Sequence[Attendee]) -> Item:
        """Invite people to a person's event; those invited before keep their answers."""
        stored = self._own(person, uid)
        item = edit.invited(stored.item, Attendee(person, status="accepted"), tuple(attendees))
        self._write(person, item, stored)
        return item

    def answer(self, person: str, uid: str, status: Status, occurrence: datetime | None = None) -> None:
        """Answer an invitation, as a whole or for one occurrence, in the person's and the organizer's
        calendars.

        Raises:
            ToolError: the person is not invited, or there is no such occurrence.
        """
        if status not in STATUSES:
            raise ToolError(f"{str(status)[:60]!r} is no answer; there are {', '.join(STATUSES)}")
        stored = self.get(person, uid)
        if stored.item.main.answer_of(person) is None:
            raise ToolError(f"{person} is not invited to {stored.item.main.summary!r}")

        holders = dict.fromkeys((stored.item.main.organizer or person, person))
        for holder in holders:
            copy = stored if holder == person else self._copy(holder, uid)
            if copy is not None:
                event = None if occurrence is None else self._occurrence(holder, copy.item, occurrence)
                item = edit.answered(copy.item, person, status, event)
                self.put(holder, item, etag=copy.etag, name=copy.name)

    def move(
        self,
        person: str,
        uid: str,
        start: datetime,
        end: datetime | None = None,
        *,
        occurrence: datetime | None = None,
        following: bool = False,
    ) -> Item:
        """Move an event to another time: all of it, one occurrence of a series, or one and those that follow.

        Args:
            end: if omitted, the event keeps its length.
            occurrence: the occurrence's start according to the series.
            following: move what follows `occurrence`, too; it becomes a series of its own.

        Returns:
            The moved object, or the new series.

        Raises:
            ToolError: somebody else is the organizer, or there is no such occurrence.
        """
        start = _time("start", start)
        stored = self._own(person, uid)
        item = stored.item
        if occurrence is None:
            main = item.main
            zone = self._zone(person) if _is_floating(item) else UTC
            moved = _moved(item, start, _until(start, end, aware(main.start, zone), aware(main.end, zone)))
            self._write(person, moved, stored)
            return moved
        event = self._occurrence(person, item, occurrence)
        until = _until(start, end, event.start, event.end)
        if not following:
            moved = edit.occurrence_moved(item, event, start, until)
            self._write(person, moved, stored)
            return moved
        head, tail = _split(item, event)
        moved = _moved(tail, start, until)
        # What follows is written first: in the other order, a failure half-way would lose it.
        for holder in self._holders(person, moved):
            self._write_copy(holder, moved)
        if head is None:
            self._remove(person, stored)
        else:
            self._write(person, head, stored)
        return moved

    def cancel(
        self, person: str, uid: str, *, occurrence: datetime | None = None, following: bool = False
    ) -> None:
        """Cancel an event: all of it, one occurrence of a series, or one and those that follow.

        Raises:
            ToolError: somebody else is the organizer, or there is no such occurrence.
        """
        stored = self._own(person, uid)
        item = stored.item
        if occurrence is None:
            self._remove(person, stored)
            return
        event = self._occurrence(person, item, occurrence)
        if not following:
            self._write(person, edit.occurrence_removed(item, event), stored)
            return
        head, _ = _split(item, event)
        if head is None:
            self._remove(person, stored)
        else:
            self._write(person, head, stored)

    def _own(self, person: str, uid: str) -> Stored:
        """An object, if the person may change it."""
        stored = self.get(person, uid)
        organizer = stored.item.main.organizer
        if organizer and organizer != person:
            raise ToolError(
                f"{stored.item.main.summary!r} is organized by {organizer}, who alone can change it; "
                "the invitation can be answered"
            )
        return stored

    def _occurrence(self, person: str, item: Item, occurrence: datetime) -> Event:
        zone = self._zone(person) if _is_floating(item) else UTC
        try:
            return edit.find(item, _time("occurrence", occurrence), zone)
        except ValueError as error:
            raise ToolError(str(error)) from None

    def _holders(self, person: str, item: Item) -> list[str]:
        """The people who have a copy of a meeting."""
        invited = (attendee.address for part in item.parts for attendee in part.attendees)
        return list(dict.fromkeys((person, *invited)))

    def _write(self, person: str, item: Item, stored: Stored | None = None) -> None:
        """Write a meeting into everybody's calendar. The person's own copy comes last, and only if it has not
        changed since it was read: until then the call can be repeated."""
        for holder in self._holders(person, item):
            if holder != person:
                self._write_copy(holder, item)
        if stored is None:
            self.put(person, item)
        else:
            self.put(person, item, etag=stored.etag, name=stored.name)

    def _write_copy(self, holder: str, item: Item) -> None:
        try:
            self.put(holder, item, etag=ANY)
        except Refused as refusal:
            # 409: the copy has another name, or there is no calendar for it.
            if refusal.status != 409:
                raise
            if (copy := self._copy(holder, item.uid)) is not None:
                self.put(holder, item, etag=copy.etag, name=copy.name)

    def _remove(self, person: str, stored: Stored) -> None:
        """Remove a meeting from everybody's calendar, the person's own last."""
        for holder in self._holders(person, stored.item):
            if holder == person:
                continue
            try:
                self._ask("DELETE", holder, resource_name(stored.item.uid))
            except Refused as refusal:
                if refusal.status != 404:
                    raise
                if (copy := self._copy(holder, stored.item.uid)) is not None:
                    self._ask("DELETE", holder, copy.name)
        self._ask("DELETE", person, stored.name, headers={"if-match": stored.etag})

    def _copy(self, person: str, uid: str) -> Stored | None:
        """Somebody's copy of a meeting; None if they have none, or no calendar here."""
        try:
            return self.get(person, uid)
        except Refused as refusal:
            if refusal.status != 404:
                raise
        return None

    # The protocol

    def _zone(self, person: str) -> tzinfo:
        return ZoneInfo(self.calendar(person).zone)

    def _query(self, person: str, body: bytes) -> list[requests.Found]:
        content = self._ask("REPORT", person, content=body, headers={**_XML, "depth": "1"}).content
        return _read(self._http, requests.read_objects, content)

    def _item(self, text: str, place: str) -> Item:
        try:
            return ics.read(text)
        except BadCalendar as error:
            if "BEGIN:VCALENDAR" not in text:
                raise ToolFault(f"{place} is no calendar object: {error}; is the URL right?") from None
            raise ToolError(f"{place} is on the server, and cannot be understood: {error}") from None

    def _understood(self, found: requests.Found) -> Item | None:
        """An object from the server; None if it must be left out."""
        try:
            return ics.read(found.text)
        except BadCalendar as error:
            if found.href not in self.skipped and len(self.skipped) < MAX_SKIPPED:
                self.skipped[found.href] = str(error)
                _LOG.warning("%s%s is left out: %s", self._http.base_url, found.href, error)
            return None

    def _ask(self, method: str, person: str, name: str = "", **arguments: Any) -> httpx.Response:
        if not person or "/" in person or carried("person", person) in (".", ".."):
            raise ToolError(f"{person[:100]!r} is nobody: a person is an address such as 'anna@example.org'")
        return _ask(self._http, method, f"{quote(person)}/{quote(name, safe='')}", **arguments)


def _ask(http: httpx.Client, method: str, path: str, **arguments: Any) -> httpx.Response:
    return ask(http, method, path, explain=requests.read_refusal, **arguments)


def _calendar(found: requests.Collection) -> Calendar:
    person = unquote(found.href.rstrip("/").rpartition("/")[2])
    return Calendar(person, found.name or person, found.zone if is_iana(found.zone) else "UTC")


def _is_floating(item: Item) -> bool:
    """Whether times depend on the person's zone."""
    return any(not isinstance(part.start, datetime) or part.start.tzinfo is None for part in item.parts)


def _read(http: httpx.Client, read: Callable[[bytes], list[Any]], body: bytes) -> list[Any]:
    """The content of an XML body."""
    try:
        return read(body)
    except BadXml as error:
        raise ToolFault(f"{http.base_url} answered with no CalDAV: {error}; is the URL right?") from None


def _moment(name: str, moment: Moment) -> Moment:
    if not FIRST_YEAR < moment.year < LAST_YEAR:
        raise ToolError(f"{name}={moment}: years go from {FIRST_YEAR + 1} to {LAST_YEAR - 1}")
    return moment


def _time(name: str, moment: datetime) -> datetime:
    _moment(name, moment)
    if moment.tzinfo is None:
        raise ToolError(f"{name}={moment} needs a time zone")
    return moment


def _until(start: datetime, end: datetime | None, was_start: datetime, was_end: datetime) -> datetime:
    """The end of something that is moved: as given, or so that it keeps its length."""
    if end is None:
        return exactly(start, lasting(was_start, was_end))
    if lasting(start, _time("end", end)) < timedelta(0):
        raise ToolError(f"end={end} lies before start={start}")
    return end


def _moved(item: Item, start: datetime, end: datetime) -> Item:
    try:
        return edit.moved(item, start, end)
    except (CannotMove, OverflowError) as error:
        raise ToolError(f"{item.main.summary!r} cannot be moved as a whole: {error}") from None


def _split(item: Item, event: Event) -> tuple[Item | None, Item]:
    try:
        return edit.split(item, event, event.start.tzinfo or UTC)
    except CannotMove as error:
        raise ToolError(f"{item.main.summary!r} cannot be cut there: {error}") from None
