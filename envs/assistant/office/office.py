"""`Office`: its people, their calendars, its place and its time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from ludus.tools.services.calendar import Attendee, Calendar, Item, VEvent
from ludus.tools.services.calendar.shelves import Shelves, shelf
from ludus.tools.services.geography import Place, invented_name, invented_places

TRIES = 500
"""The most draws of a town and a week until they suit."""
TEAM = 5
"""The number of colleagues, not counting the owner."""
OPENS, NOON, CLOSES = time(9), time(13), time(17)
"""Mornings are from 9 to 13, afternoons from 13 to 17."""
STEP = timedelta(minutes=15)
"""Meetings begin on a quarter of an hour."""
HALF_HOUR = timedelta(minutes=30)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PARTS = {"morning": (OPENS, NOON), "afternoon": (NOON, CLOSES)}
_FIRST_SUNDAY = date(2031, 3, 2)
_ENGAGEMENTS = (
    *("Dentist", "Focus time", "Budget review", "Design sync", "Interview", "Gym", "Phone conference"),
    *("Training", "Code review", "Site visit", "Hairdresser", "Supplier call", "Retrospective", "Lunch"),
)


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    address: str

    @property
    def mailbox(self) -> str:
        return f"{self.name} <{self.address}>"


@dataclass(frozen=True, slots=True)
class Engagement:
    """An event in its participants' calendars; the first participant is the organizer."""

    uid: str
    title: str
    start: datetime
    end: datetime
    people: tuple[str, ...]
    """The participants' addresses."""


@dataclass(frozen=True, slots=True)
class Office:
    owner: Person
    team: tuple[Person, ...]
    place: Place
    now: datetime
    """A Sunday evening, in the office's time zone."""
    engagements: tuple[Engagement, ...]
    """The engagements of the coming week."""

    @property
    def zone(self) -> ZoneInfo:
        return _zone(self.place.timezone)

    @property
    def days(self) -> tuple[date, ...]:
        """The working days of the coming week."""
        return tuple(self.now.date() + timedelta(days=number) for number in range(1, 6))

    @property
    def people(self) -> tuple[Person, ...]:
        return (self.owner, *self.team)

    def at(self, day: date, hour: time) -> datetime:
        return datetime.combine(day, hour, self.zone)

    def is_free(self, people: Iterable[str], start: datetime, end: datetime) -> bool:
        asked = set(people)
        return all(
            engagement.end <= start or engagement.start >= end or asked.isdisjoint(engagement.people)
            for engagement in self.engagements
        )

    def first_free(self, people: Sequence[str], day: date, part: str, minutes: int) -> datetime | None:
        """The earliest quarter of an hour from which all of them are free for that long, or None."""
        opens, closes = PARTS[part]
        start, last = self.at(day, opens), self.at(day, closes) - timedelta(minutes=minutes)
        while start <= last:
            if self.is_free(people, start, start + timedelta(minutes=minutes)):
                return start
            start += STEP
        return None

    def crowded(
        self, rng: np.random.Generator, people: Sequence[str], day: date, part: str, minutes: int
    ) -> "Office":
        """The same office, where these people have other things to do in a part of a day.

        The time from which all are free for that long is drawn from all that are possible, so that betting on
        the beginning of the morning or the afternoon is rarely right.
        """
        opens, closes = (self.at(day, hour) for hour in PARTS[part])
        length = timedelta(minutes=minutes)
        start = opens + int(rng.integers((closes - opens - length) // STEP + 1)) * STEP
        spans = []
        end = start
        while end > opens:
            begin = max(opens, end - int(rng.integers(2, 6)) * STEP)
            spans.append((begin, end))
            # What lies between two of them is too short.
            end = begin - int(rng.integers(min(length // STEP, 3))) * STEP
        begin = start + length + int(rng.integers(3)) * STEP
        while begin < closes:
            spans.append((begin, min(closes, begin + int(rng.integers(2, 6)) * STEP)))
            begin = spans[-1][1] + int(rng.integers(6)) * STEP
        kept = [
            engagement
            for engagement in self.engagements
            if engagement.end <= opens or engagement.start >= closes or engagement.people[0] not in people
        ]
        for number, (begin, end) in enumerate(sorted(spans)):
            who = people[int(rng.integers(len(people)))]
            title = _ENGAGEMENTS[int(rng.integers(len(_ENGAGEMENTS)))]
            kept.append(Engagement(f"c{number}", title, begin, end, (who,)))
        return replace(self, engagements=tuple(kept))

    def cleared(self, events: Sequence[Engagement]) -> "Office":
        """The same office without engagements of people who take part in events at the same time."""
        kept = [
            engagement
            for engagement in self.engagements
            if not any(
                engagement.start < event.end
                and event.start < engagement.end
                and not set(event.people).isdisjoint(engagement.people)
                for event in events
            )
        ]
        return replace(self, engagements=tuple(kept))

    def joined(self, *engagements: Engagement) -> "Office":
        """The same office with more engagements."""
        return replace(self, engagements=(*self.engagements, *engagements))

    def shelves(self) -> Shelves:
        """Everybody's calendar."""
        filled = []
        for person in self.people:
            own = [
                _item(engagement) for engagement in self.engagements if person.address in engagement.people
            ]
            filled.append(shelf(Calendar(person.address, person.name, self.place.timezone), own))
        return Shelves({each.calendar.person: each for each in filled})


def draw_office(
    rng: np.random.Generator, world: int, suits: Callable[[Place, datetime], bool] | None = None
) -> Office:
    """An office in some town of an invented world, in some week of the year.

    Args:
        rng: the source of all draws.
        world: its seed.
        suits: whether a town and a week, given by the Sunday evening before it, will do; by default any will.
        Towns and weeks are drawn until it holds, at most `TRIES` times.
    """
    places, names = _places(world), _names()
    people = tuple(_person(names[int(number)]) for number in rng.choice(len(names), TEAM + 1, replace=False))
    for _ in range(TRIES):
        place = places[int(rng.integers(len(places)))]
        sunday = _FIRST_SUNDAY + timedelta(weeks=int(rng.integers(48)))
        now = datetime.combine(sunday, time(18), _zone(place.timezone))
        if suits is None or suits(place, now):
            break
    engagements = []
    # Per person and day: how many (0, 1, 1 or 2), then start, length in half hours, and title.
    drawn = rng.integers(0, (4, 8, 4, len(_ENGAGEMENTS)), (len(people) * 5, 2, 4)).tolist()
    for number, ((count, *first), (_, *second)) in enumerate(drawn):
        person, day = people[number // 5], sunday + timedelta(days=1 + number % 5)
        # The first in the morning and the second in the afternoon, or vice versa.
        for half, (begin, length, title) in enumerate((first, second)[: (0, 1, 1, 2)[count]]):
            opens = OPENS if (half + number + count) % 2 else NOON
            start = datetime.combine(day, opens, now.tzinfo) + begin * HALF_HOUR
            end = min(start + (1 + length) * HALF_HOUR, datetime.combine(day, CLOSES, now.tzinfo))
            uid = f"w{number}{'ab'[half]}"
            engagements.append(Engagement(uid, _ENGAGEMENTS[title], start, end, (person.address,)))
    return Office(people[0], people[1:], place, now, _apart(engagements))


def _apart(engagements: Sequence[Engagement]) -> tuple[Engagement, ...]:
    """Leaves out those that begin before another of the same person has ended."""
    kept: list[Engagement] = []
    ends: dict[str, datetime] = {}
    for engagement in sorted(
        engagements, key=lambda engagement: (engagement.people, engagement.start, engagement.uid)
    ):
        person = engagement.people[0]
        if person not in ends or ends[person] <= engagement.start:
            ends[person] = engagement.end
            kept.append(engagement)
    return tuple(kept)


@lru_cache(maxsize=4096)
def _item(engagement: Engagement) -> Item:
    organizer, *others = engagement.people
    if not others:
        return Item(
            VEvent(uid=engagement.uid, start=engagement.start, end=engagement.end, summary=engagement.title)
        )
    attendees = (
        Attendee(organizer, status="accepted"),
        *(Attendee(other, status="accepted") for other in others),
    )
    return Item(
        VEvent(
            uid=engagement.uid,
            start=engagement.start,
            end=engagement.end,
            summary=engagement.title,
            organizer=organizer,
            attendees=attendees,
        )
    )


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@cache
def _places(world: int) -> tuple[Place, ...]:
    """Towns with unique names, largest first."""
    every = invented_places(world)
    names = [place.name for place in every]
    alone = [place for place in every if names.count(place.name) == 1]
    return tuple(sorted(alone, key=lambda place: (-place.population, place.id))[:80])


@cache
def _names() -> tuple[str, ...]:
    """Names of people; no two share a word."""
    rng = np.random.default_rng(0x6F666669)
    found: list[str] = []
    words: set[str] = set()
    while len(found) < 300:
        name = invented_name(rng, "person")
        parts = {part.casefold() for part in name.split()}
        if name.isascii() and parts.isdisjoint(words) and len(parts) == 2:
            found.append(name)
            words |= parts
    return tuple(found)


@cache
def _person(name: str) -> Person:
    return Person(name, f"{'.'.join(name.lower().split())}@office.example")
