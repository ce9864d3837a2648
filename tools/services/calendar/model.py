"""What calendars consist of: people's calendars, objects of one or more VEVENTs, and events."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from hashlib import blake2b
from typing import Literal

Moment = datetime | date
"""When something begins: a time in a zone, a time without a zone (wherever one is), or a whole day."""

Status = Literal["needs-action", "accepted", "declined", "tentative"]
STATUSES: tuple[Status, ...] = ("needs-action", "accepted", "declined", "tentative")


@dataclass(frozen=True, slots=True)
class Calendar:
    """Somebody's calendar on the server."""

    person: str
    """The name of the collection: the person's address."""
    name: str
    """The person's name, for people."""
    zone: str
    """IANA name of the zone the person lives in; it applies to whole days and to times without a zone."""


@dataclass(frozen=True, slots=True)
class Attendee:
    """Somebody who is invited, and their answer."""

    address: str
    name: str = ""
    status: Status = "needs-action"


@dataclass(frozen=True, slots=True, kw_only=True)
class VEvent:
    """One VEVENT: an event, a series, or one occurrence of a series that is different (RFC 5545, 3.6.1)."""

    uid: str
    start: Moment
    end: Moment
    """The first moment that no longer belongs to it."""
    summary: str = ""
    location: str = ""
    description: str = ""
    organizer: str = ""
    """Address of whoever invites; empty when nobody is invited."""
    attendees: tuple[Attendee, ...] = ()
    status: str = "CONFIRMED"
    """CONFIRMED, TENTATIVE or CANCELLED."""
    transparent: bool = False
    """Whether people stay free during it."""
    rule: str = ""
    """RRULE, such as `FREQ=WEEKLY;COUNT=8`."""
    excluded: tuple[Moment, ...] = ()
    """EXDATE: starts of the rule that do not take place."""
    added: tuple[Moment, ...] = ()
    """RDATE: further starts."""
    occurrence: Moment | None = None
    """RECURRENCE-ID: which start of the series this stands for."""
    following: bool = False
    """RANGE=THISANDFUTURE: whether it also stands for all later ones, each as much later as this one is."""
    sequence: int = 0
    stamp: datetime = datetime(2031, 1, 1, tzinfo=UTC)
    """DTSTAMP: when it was last written."""
    other: tuple[str, ...] = ()
    """Other content lines (alarms, categories, foreign extensions), which are kept."""

    def answer_of(self, address: str) -> Status | None:
        """Somebody's answer; None if they are not invited."""
        return next((guest.status for guest in self.attendees if guest.address == address), None)


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a calendar: a VEVENT, with the occurrences of its series that are different."""

    main: VEvent
    changes: tuple[VEvent, ...] = ()
    zones: tuple[str, ...] = ()
    """VTIMEZONEs without IANA names, as text, which are kept."""

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
    """For a series: the start that the series gives it, which identifies it even after it was moved."""
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
    """A time in which somebody is not free, in UTC."""

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
    """The time this much later in the same zone, even if the clocks change in between."""
    if moment.tzinfo is None:
        return moment + length
    return (moment.astimezone(UTC) + length).astimezone(moment.tzinfo)


def lasting(start: datetime, end: datetime) -> timedelta:
    """How much time passes between two times with zones, even if the clocks change in between."""
    return end.astimezone(UTC) - start.astimezone(UTC)


def aware(moment: Moment, zone: tzinfo) -> datetime:
    """A moment as a time with a zone: whole days begin at midnight in `zone`."""
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time(), zone)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
