"""The data of calendars: people's calendars, objects with one or more VEVENTs, and events."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from hashlib import blake2b
from typing import Literal

Moment = datetime | date
"""When something begins: a time in a zone, a time without a zone (local anywhere), or a whole day."""

Status = Literal["needs-action", "accepted", "declined", "tentative"]
STATUSES: tuple[Status, ...] = ("needs-action", "accepted", "declined", "tentative")


@dataclass(frozen=True, slots=True)
class Calendar:
    """A person's calendar on the server."""

    person: str
    """The name of the collection: the person's address."""
    name: str
    """The person's name, for display."""
    zone: str
    """IANA name of the person's time zone; it applies to whole days and times without a zone."""


@dataclass(frozen=True, slots=True)
class Attendee:
    """An invited person, and their answer."""

    address: str
    name: str = ""
    status: Status = "needs-action"


@dataclass(frozen=True, slots=True, kw_only=True)
class VEvent:
    """A VEVENT: an event, a series, or an occurrence that differs from its series (RFC 5545, 3.6.1)."""

    uid: str
    start: Moment
    end: Moment
    """The first moment after it."""
    summary: str = ""
    location: str = ""
    description: str = ""
    organizer: str = ""
    """Address of the person who invites; empty if nobody is invited."""
    attendees: tuple[Attendee, ...] = ()
    status: str = "CONFIRMED"
    """CONFIRMED, TENTATIVE or CANCELLED."""
    transparent: bool = False
    """Whether it leaves people free."""
    rule: str = ""
    """RRULE, such as `FREQ=WEEKLY;COUNT=8`."""
    excluded: tuple[Moment, ...] = ()
    """EXDATE: starts of the rule that are left out."""
    added: tuple[Moment, ...] = ()
    """RDATE: further starts."""
    occurrence: Moment | None = None
    """RECURRENCE-ID: the start in the series that this replaces."""
    following: bool = False
    """RANGE=THISANDFUTURE: whether it also replaces all later ones, each moved by as much as this one."""
    sequence: int = 0
    stamp: datetime = datetime(2031, 1, 1, tzinfo=UTC)
    """DTSTAMP: when it was last written."""
    other: tuple[str, ...] = ()
    """Other content lines (alarms, categories, extensions), kept as they are."""

    def answer_of(self, address: str) -> Status | None:
        """A person's answer; None if they are not invited."""
        return next((guest.status for guest in self.attendees if guest.address == address), None)


@dataclass(frozen=True, slots=True)
class Item:
    """An object in a calendar: a VEVENT, with the occurrences that differ from its series."""

    main: VEvent
    changes: tuple[VEvent, ...] = ()
    zones: tuple[str, ...] = ()
    """VTIMEZONEs without IANA names, kept as text."""

    @property
    def uid(self) -> str:
        return self.main.uid

    @property
    def is_series(self) -> bool:
        return bool(self.main.rule or self.main.added or self.changes)

    @property
    def parts(self) -> tuple[VEvent, ...]:
        return (self.main, *self.changes)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that takes place once: an event, or one occurrence of a series."""

    start: datetime
    """In the event's own zone, or in the person's for whole days and times without a zone."""
    end: datetime
    occurrence: datetime | None
    """For a series: the start according to the series, which identifies it even after a move."""
    details: VEvent
    is_series: bool

    @property
    def uid(self) -> str:
        return self.details.uid

    @property
    def summary(self) -> str:
        return self.details.summary

    @property
    def all_day(self) -> bool:
        return not isinstance(self.details.start, datetime)

    def is_busy_for(self, person: str) -> bool:
        """Whether it takes a person's time: it is not transparent, not cancelled, and not declined."""
        details = self.details
        return not (
            details.transparent or details.status == "CANCELLED" or details.answer_of(person) == "declined"
        )


@dataclass(frozen=True, slots=True)
class Busy:
    """A time when a person is not free, in UTC."""

    start: datetime
    end: datetime


def resource_name(uid: str) -> str:
    """The name of an object's resource within its calendar: the UID, in characters that every server
    accepts."""
    if re.fullmatch(r"[A-Za-z0-9@_-][A-Za-z0-9@._-]{0,199}", uid):
        return f"{uid}.ics"
    plain = re.sub(r"[^A-Za-z0-9]+", "-", uid[:60])
    return f"_{plain}-{blake2b(uid.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}.ics"


def exactly(moment: datetime, length: timedelta) -> datetime:
    """The time exactly this much later, in the same zone, even if the clocks change in between."""
    if moment.tzinfo is None:
        return moment + length
    return (moment.astimezone(UTC) + length).astimezone(moment.tzinfo)


def lasting(start: datetime, end: datetime) -> timedelta:
    """The exact time between two times with zones, even if the clocks change in between."""
    return end.astimezone(UTC) - start.astimezone(UTC)


def aware(moment: Moment, zone: tzinfo) -> datetime:
    """A moment as a time with a zone: whole days begin at midnight in `zone`."""
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time(), zone)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
