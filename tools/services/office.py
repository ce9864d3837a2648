"""`invented_calendars`: what stands in the calendars of the people with whom somebody corresponds."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from ludus.tools.services.calendar import Attendee, Calendar, Item, VEvent
from ludus.tools.services.calendar.model import Status
from ludus.tools.services.mail import Correspondent, Mailbox
from ludus.tools.services.service import EPOCH

ZONES = ("Europe/London", "Europe/Berlin", "Europe/Helsinki", "America/New_York")
"""The owner of the mailbox is in the first; everybody else in any."""
TITLES = (
    *("Budget review", "Call with a supplier", "Design workshop", "Interview", "Release planning"),
    *("Security briefing", "Training", "Quarterly report", "Dentist", "Contract check", "Customer visit"),
)
ROUTINES = ("Office hours", "Stand-up", "Choir", "Reading group", "Planning", "Physiotherapy")
WEEKS, DAYS = 8, 10
"""How long series run, and on how many working days from the clock's beginning there are other events."""
ANSWERS: tuple[Status, ...] = ("accepted", "accepted", "needs-action", "tentative", "declined")
Span = tuple[datetime, datetime]
Choice = TypeVar("Choice")


def invented_calendars(mailbox: Mailbox, seed: int = 0) -> dict[Calendar, tuple[Item, ...]]:
    """A calendar for the owner of a mailbox and one for everybody who is outside of it.

    All of them meet weekly, once an hour later than usual, and the owner meets some of them alone. Everybody
    has a weekly event of their own, single events, and something else whenever they decline invitations
    (`Correspondent.busy`). Nobody has two things at a time. A pure function of its arguments.
    """
    return _Office(mailbox, np.random.default_rng([seed, 0x63616C])).calendars()


class _Office:
    """Calendars while they are being filled."""

    def __init__(self, mailbox: Mailbox, rng: np.random.Generator) -> None:
        self.owner, self.people, self.rng = mailbox.owner, mailbox.people, rng
        self.everybody = (self.owner, *self.people)
        self.zones = {person.address: ZONES[int(rng.integers(len(ZONES)))] for person in self.people}
        self.zones[self.owner.address] = ZONES[0]
        self.items: dict[str, list[Item]] = {person.address: [] for person in self.everybody}
        self.taken: dict[str, list[Span]] = {person.address: list(person.busy) for person in self.everybody}
        self.written = 0

    def calendars(self) -> dict[Calendar, tuple[Item, ...]]:
        for person in self.everybody:
            for start, end in person.busy:
                self.items[person.address].append(Item(self._event("Reserved", start, end)))
        self._team_meeting()
        for guest in self.people[:4]:
            self._meet(guest)
        for person in self.everybody:
            self._add(person, self._one_of(ROUTINES), weekly=True)
            for _ in range(4):
                self._add(person, self._one_of(TITLES))
        return {
            Calendar(person.address, person.name, self.zones[person.address]): tuple(
                self.items[person.address]
            )
            for person in self.everybody
        }

    def _team_meeting(self) -> None:
        """Of all of them."""
        start = self._free(self.everybody, timedelta(hours=1), weekly=True)
        if start is None:
            return
        main = self._event("Team meeting", start, start + timedelta(hours=1), self.people, weekly=True)
        # Once, it takes place an hour later.
        second = start + timedelta(weeks=1)
        later = replace(
            main,
            rule="",
            occurrence=second,
            start=second + timedelta(hours=1),
            end=second + timedelta(hours=2),
            sequence=1,
        )
        self._put(Item(main, (later,)), self.everybody)

    def _meet(self, guest: Correspondent) -> None:
        length = timedelta(minutes=30)
        start = self._free((self.owner, guest), length)
        if start is not None:
            title = f"{self.owner.name} / {guest.name}"
            self._put(Item(self._event(title, start, start + length, (guest,))), (self.owner, guest))

    def _add(self, person: Correspondent, title: str, weekly: bool = False) -> None:
        length = timedelta(minutes=30 * int(self.rng.integers(1, 4)))
        start = self._free((person,), length, weekly)
        if start is not None:
            self._put(Item(self._event(title, start, start + length, weekly=weekly)), (person,))

    def _event(
        self,
        title: str,
        start: datetime,
        end: datetime,
        guests: tuple[Correspondent, ...] = (),
        weekly: bool = False,
    ) -> VEvent:
        self.written += 1
        owner = (Attendee(self.owner.address, self.owner.name, "accepted"),) if guests else ()
        answered = (Attendee(guest.address, guest.name, self._one_of(ANSWERS)) for guest in guests)
        return VEvent(
            uid=f"ev{self.written:02}{int(self.rng.integers(2**20)):05x}",
            start=start,
            end=end,
            summary=title,
            organizer=self.owner.address if guests else "",
            attendees=(*owner, *answered),
            rule=f"FREQ=WEEKLY;COUNT={WEEKS}" if weekly else "",
        )

    def _free(
        self, people: tuple[Correspondent, ...], length: timedelta, weekly: bool = False
    ) -> datetime | None:
        """A start, on the clock of the first of these people, at which all of them have time: within working
        hours of the first, on a working day; None if twenty draws find none."""
        zone = ZoneInfo(self.zones[people[0].address])
        for _ in range(20):
            day = int(self.rng.integers(5 if weekly else DAYS))
            date = EPOCH.date() + timedelta(days=day + 2 * (day // 5))
            start = datetime(date.year, date.month, date.day, int(self.rng.integers(9, 16)), tzinfo=zone)
            # A series keeps the hour after it free, too, for the meeting that is held later once.
            end = start + length + timedelta(hours=weekly)
            weeks = (timedelta(weeks=week) for week in range(WEEKS if weekly else 1))
            spans = [(start + later, end + later) for later in weeks]
            if not any(
                begin < high and low < until
                for person in people
                for low, high in self.taken[person.address]
                for begin, until in spans
            ):
                for person in people:
                    self.taken[person.address] += spans
                return start
        return None

    def _put(self, item: Item, people: tuple[Correspondent, ...]) -> None:
        for person in people:
            self.items[person.address].append(item)

    def _one_of(self, choices: Sequence[Choice]) -> Choice:
        return choices[int(self.rng.integers(len(choices)))]
