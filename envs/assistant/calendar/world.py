"""The people and calendars at the beginning of an episode, drawn from a seed."""

import functools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from ludus.tools.services.calendar.model import Attendee, Calendar, Item, Status, VEvent

SLOT = timedelta(minutes=30)
"""All events begin and end on the hour or half hour."""
WORK_BEGINS, WORK_ENDS = 8, 18
"""Working hours, on each person's own clock, Monday to Friday."""
MAX_SHOWN = 60
"""The maximum number of entries in a list for the agent."""
WEEKS = 6
"""The number of occurrences of a series."""

CLUSTERS = (
    ("Europe/London", "Europe/Berlin", "Europe/Helsinki", "America/New_York", "America/Sao_Paulo"),
    ("Europe/Berlin", "Europe/London", "Asia/Dubai", "Asia/Kolkata", "Africa/Johannesburg"),
    ("Asia/Tokyo", "Australia/Sydney", "Asia/Singapore", "Asia/Kolkata"),
    ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Sao_Paulo"),
)
"""Groups of zones whose working hours overlap."""
MONDAYS = (date(2031, 3, 3), date(2031, 3, 24), date(2031, 10, 20), date(2031, 10, 27))
"""Weeks at whose end clocks change somewhere; half of all episodes begin with one of them."""
FIRST_MONDAY = date(2031, 1, 6)

FIRST_NAMES = (
    *("Anna", "Bo", "Chiara", "Dmitri", "Elif", "Farid", "Grace", "Hiro", "Ines", "Jonas", "Kofi", "Lena"),
    *("Mateo", "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Samir", "Tove", "Uma", "Viktor", "Wen", "Yara"),
)
LAST_NAMES = (
    *("Almeida", "Berg", "Castell", "Duarte", "Ekström", "Fontaine", "Gruber", "Haddad", "Ivanov", "Jansen"),
    *("Kaya", "Lindqvist", "Moreau", "Novak", "Okafor", "Petrov", "Quist", "Rao", "Silva", "Tanaka"),
)
TOPICS = (
    *("Budget", "Hiring", "Roadmap", "Supplier", "Release", "Design", "Security", "Onboarding", "Contract"),
    *("Pricing", "Research", "Marketing", "Logistics", "Quality", "Training", "Launch", "Data", "Travel"),
)
FORMS = ("review", "call", "workshop", "check-in", "planning", "briefing", "interview", "debrief")
SERIES = ("sync", "stand-up", "catch-up", "office hour", "round table", "retrospective")


@dataclass(frozen=True, slots=True)
class Person:
    """Someone with a calendar."""

    name: str
    address: str
    zone: str

    @property
    def clock(self) -> ZoneInfo:
        return zone(self.zone)

    @property
    def calendar(self) -> Calendar:
        return Calendar(self.address, self.name, self.zone)

    def attendee(self, status: Status = "needs-action") -> Attendee:
        return Attendee(self.address, self.name, status)


zone = functools.lru_cache(ZoneInfo)


@dataclass(slots=True)
class World:
    """Calendars while they are being filled."""

    rng: random.Random
    monday: date
    people: tuple[Person, ...]
    """The people; the first is the one the agent works for."""
    items: dict[str, dict[str, Item]]
    """The calendars' objects, by address and UID."""
    taken: dict[str, set[datetime]]
    """The starts, in UTC, of the slots in which a person is not free, by address."""
    titles: list[str]
    """Titles for the task's own events; `pop` one."""
    serials: list[str]
    """Titles for the task's own series."""
    common: tuple[str, ...]
    """Titles for everything else."""
    busyness: float
    number: int = 0

    @property
    def user(self) -> Person:
        return self.people[0]

    @property
    def now(self) -> datetime:
        """Monday, half past seven on the user's clock."""
        return _at(self.monday, 15, self.user.zone)

    def uid(self) -> str:
        """A new UID, which reveals nothing."""
        self.number += 1
        return f"ev{self.number:02}{self.rng.getrandbits(20):05x}"

    def day(self, week: int, weekday: int) -> date:
        return self.monday + timedelta(days=7 * week + weekday)

    def at(self, day: date, slot: int, person: Person) -> datetime:
        """A time on a day on a person's clock; slots are half hours since midnight."""
        return _at(day, slot, person.zone)

    def is_free(self, person: Person, start: datetime, slots: int) -> bool:
        taken = self.taken[person.address]
        return taken.isdisjoint(span(start, slots))

    def are_free(self, people: Iterable[Person], start: datetime, slots: int) -> bool:
        times = span(start, slots)
        return all(self.taken[person.address].isdisjoint(times) for person in people)

    def put(self, item: Item, people: Sequence[Person], busy: bool = True) -> Item:
        """Give an object to people; `busy` is whether it takes their time."""
        for person in people:
            self.items[person.address][item.uid] = item
            if busy:
                for start in self.starts(item):
                    self.taken[person.address].update(span(start, slots_of(item)))
        return item

    def starts(self, item: Item) -> list[datetime]:
        """The starts of an object of this world, whose series are weekly and have no exceptions."""
        main = item.main
        assert isinstance(main.start, datetime)
        return [main.start + timedelta(weeks=week) for week in range(WEEKS if main.rule else 1)]

    def event(
        self,
        title: str,
        start: datetime,
        slots: int,
        organizer: Person | None = None,
        others: Sequence[Person] = (),
        statuses: Sequence[Status] = (),
        weekly: bool = False,
    ) -> Item:
        """An event or a weekly series, with the answers of those invited (accepted if not given)."""
        attendees: tuple[Attendee, ...] = ()
        if others and organizer is not None:
            given = iter(statuses)
            invited = (person.attendee(next(given, "accepted")) for person in others)
            attendees = (organizer.attendee("accepted"), *invited)
        main = VEvent(
            uid=self.uid(),
            start=start,
            end=start + slots * SLOT,
            summary=title,
            organizer=organizer.address if attendees and organizer else "",
            attendees=attendees,
            rule=f"FREQ=WEEKLY;COUNT={WEEKS}" if weekly else "",
        )
        return Item(main)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings for drawing worlds."""

    people: int = 4
    zones: int = 3
    busyness: float = 0.3
    recurrence: int = 2
    """The number of weekly series per person."""
    lookalikes: int = 2
    """The number of entries that seem to take time but do not: cancelled or transparent."""


def draw_world(rng: random.Random, recipe: Recipe) -> World:
    """People and their usual entries."""
    monday = rng.choice(MONDAYS) if rng.random() < 0.5 else FIRST_MONDAY + timedelta(weeks=rng.randrange(48))
    cluster = rng.choice(CLUSTERS)
    zones = rng.sample(cluster, min(recipe.zones, len(cluster)))
    firsts, lasts = rng.sample(FIRST_NAMES, recipe.people), rng.sample(LAST_NAMES, recipe.people)
    people = tuple(
        Person(f"{first} {last}", f"{_plain(first)}.{_plain(last)}@example.org", zones[place % len(zones)])
        for place, (first, last) in enumerate(zip(firsts, lasts, strict=True))
    )
    addresses = [person.address for person in people]
    topics = rng.sample(TOPICS, len(TOPICS))
    forms, kinds = rng.sample(FORMS, len(FORMS)), rng.sample(SERIES, len(SERIES))
    return World(
        rng,
        monday,
        people,
        {address: {} for address in addresses},
        {address: set() for address in addresses},
        [f"{topic} {form}" for topic, form in zip(topics[:6], forms, strict=False)],
        [f"{topic} {kind}" for topic, kind in zip(topics[6:9], kinds, strict=False)],
        tuple(f"{topic} {form}" for topic, form in zip(topics[9:], (*forms, *kinds), strict=False)),
        recipe.busyness,
    )


def fill(world: World, recipe: Recipe, weeks: Sequence[int]) -> None:
    """Adds what people do besides the task, in its weeks."""
    rng = world.rng
    for person in world.people:
        for _ in range(recipe.recurrence):
            start = world.at(world.day(0, rng.randrange(5)), rng.randrange(16, 35, 3), person)
            item = world.event(rng.choice(world.common), start, 1 + rng.randrange(2), weekly=True)
            if all(world.is_free(person, begin, slots_of(item)) for begin in world.starts(item)):
                world.put(item, [person])
        for week in weeks:
            for weekday in range(5):
                fill_day(world, person, world.day(week, weekday))
    for _ in range(recipe.lookalikes):
        week, weekday = rng.choice(weeks), rng.randrange(5)
        start = world.at(world.day(week, weekday), rng.randrange(18, 32), world.user)
        item = world.event(rng.choice(world.common), start, 3)
        changed = (
            replace(item.main, status="CANCELLED")
            if rng.random() < 0.5
            else replace(item.main, transparent=True, summary=f"Focus: {item.main.summary}")
        )
        world.put(Item(changed), [world.user], busy=False)


def fill_day(world: World, person: Person, day: date) -> None:
    """Adds what someone does on a day besides what is already there."""
    rng = world.rng
    slot, last = 2 * WORK_BEGINS, 2 * WORK_ENDS
    while slot < last:
        length = 1 + rng.randrange(3)
        if rng.random() < world.busyness and slot + length <= last:
            start = world.at(day, slot, person)
            if world.is_free(person, start, length):
                world.put(world.event(rng.choice(world.common), start, length), [person])
        slot += length + 1


def at_work(person: Person, start: datetime, slots: int) -> bool:
    """Whether a time lies within someone's working hours."""
    local, until = (
        start.astimezone(person.clock),
        (start.astimezone(UTC) + slots * SLOT).astimezone(person.clock),
    )
    begins = local.replace(hour=WORK_BEGINS, minute=0)
    return local.weekday() < 5 and begins <= local and until <= local.replace(hour=WORK_ENDS, minute=0)


def slots_of(item: Item) -> int:
    main = item.main
    return int((main.end - main.start) / SLOT)  # type: ignore[operator]


def span(start: datetime, slots: int) -> list[datetime]:
    """The starts, in UTC, of the slots that a time span covers."""
    first = start.astimezone(UTC)
    return [first + place * SLOT for place in range(slots)]


@functools.lru_cache(maxsize=16384)
def _at(day: date, slot: int, name: str) -> datetime:
    return datetime(day.year, day.month, day.day, slot // 2, 30 * (slot % 2), tzinfo=zone(name))


def _plain(name: str) -> str:
    return name.lower().replace("ö", "o")
