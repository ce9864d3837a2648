"""An episode's goal, and how far calendars are from it, judged by what takes place, however it is written."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b

from ludus.envs.assistant.calendar.world import Person
from ludus.tools.services.calendar import expand, ics
from ludus.tools.services.calendar.model import Item
from ludus.tools.services.calendar.shelves import Shelves

BEFORE, AFTER = timedelta(days=30), timedelta(days=120)
"""The period that is compared, relative to now."""

Entry = tuple[str, ...]
"""An occurrence in someone's calendar: owner, title, start, end, organizer, own answer, whether it takes
time, and who is invited."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What must be different at the end; nothing else may be."""

    kind: str
    text: str
    """The user's request."""
    gone: tuple[Entry, ...] = ()
    new: tuple[Entry, ...] = ()
    answer: str = ""
    """The expected answer, if the user asks a question."""
    needs: frozenset[tuple[str, datetime]] = frozenset()
    """The half hours, by address and start, that must be looked at to know the answer."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How the final calendars compare with the goal."""

    done: float
    """The share of the requested changes that were made."""
    missing_gone: tuple[Entry, ...]
    missing_new: tuple[Entry, ...]
    """Entries that should be gone, or new, and are not."""
    wrongly_gone: tuple[Entry, ...]
    wrongly_new: tuple[Entry, ...]
    """Entries that are gone, or new, and should not be."""
    unseen: int
    """Changes outside the compared period."""

    @property
    def damaged(self) -> int:
        """The number of unwanted changes."""
        return len(self.wrongly_gone) + len(self.wrongly_new) + self.unseen

    @property
    def failure(self) -> str:
        """What is wrong, in words; empty if nothing is."""
        kinds = {
            "still there": self.missing_gone,
            "not there": self.missing_new,
            "wrongly gone": self.wrongly_gone,
            "wrongly there": self.wrongly_new,
        }
        said = [f"{what}: {in_words(found)}" for what, found in kinds.items() if found]
        return "; ".join([*said, *(f"{self.unseen} changes months away" for _ in range(self.unseen > 0))])


MOST_SHOWN = 4
"""At most this many entries of one sort are named."""


def in_words(entries: Sequence[Entry]) -> str:
    """Entries as text: `standup of ann@x.example, 2031-03-05T09:00 to 09:30 (UTC)`."""
    said = [
        f"{title} of {whose}, {start[:16]} to {end[11:16]} UTC" + (f" ({answer})" if answer else "")
        for whose, title, start, end, _, answer, *_ in entries[:MOST_SHOWN]
    ]
    more = len(entries) - MOST_SHOWN
    return ", ".join([*said, *(f"and {more} more" for _ in range(more > 0))])


def entries(item: Item, person: Person, now: datetime) -> Counter[Entry]:
    """The entries that an object adds to a person's calendar."""
    found = expand.events([item], now - BEFORE, now + AFTER, person.clock)
    return Counter(
        (
            person.address,
            " ".join(event.summary.split()).casefold(),
            event.start.astimezone(UTC).isoformat(),
            event.end.astimezone(UTC).isoformat(),
            event.details.organizer,
            event.details.answer_of(person.address) or "",
            f"{event.details.status} {event.details.transparent}",
            *sorted(attendee.address for attendee in event.details.attendees),
        )
        for event in found
    )


# Called at each write, and when proving that the goal can be reached.
@lru_cache(maxsize=4096)
def _written(text: str, person: Person, now: datetime) -> Counter[Entry]:
    return entries(ics.read(text), person, now)


def change(
    people: Iterable[Person], now: datetime, edits: Iterable[tuple[Item | None, Item | None]]
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """The entries that are gone and new after objects in people's calendars were replaced."""
    gone: Counter[Entry] = Counter()
    new: Counter[Entry] = Counter()
    edits = tuple(edits)
    for person in people:
        for before, after in edits:
            if before is not None:
                gone += entries(before, person, now)
            if after is not None:
                new += entries(after, person, now)
    return tuple(sorted((gone - new).elements())), tuple(sorted((new - gone).elements()))


def difference(
    goal: Goal, people: Mapping[str, Person], now: datetime, begun: Shelves, ended: Shelves
) -> Difference:
    """How far the final calendars are from the goal. Only objects whose text changed are examined."""
    gone: Counter[Entry] = Counter()
    new: Counter[Entry] = Counter()
    unseen = 0
    for address, after in ended.by_person.items():
        before = begun.by_person[address]
        if after is before:
            continue
        for name in dict.fromkeys((*before.objects, *after.objects)):
            was, is_now = before.objects.get(name), after.objects.get(name)
            if was == is_now:
                continue
            lost = Counter() if was is None else _written(was, people[address], now)
            won = Counter() if is_now is None else _written(is_now, people[address], now)
            # Nor were changes outside the compared period asked for.
            unseen += not lost and not won
            gone += lost
            new += won
    gone, new = gone - new, new - gone
    wanted_gone, wanted_new = Counter(goal.gone), Counter(goal.new)
    wanted = wanted_gone.total() + wanted_new.total()
    done = (gone & wanted_gone).total() + (new & wanted_new).total()
    return Difference(
        done / wanted if wanted else 1.0,
        missing_gone=tuple((wanted_gone - gone).elements()),
        missing_new=tuple((wanted_new - new).elements()),
        wrongly_gone=tuple((gone - wanted_gone).elements()),
        wrongly_new=tuple((new - wanted_new).elements()),
        unseen=unseen,
    )


def task_key(goal: Goal, shelves: Shelves) -> str:
    """The kind, and a digest of the calendars and the request. VTIMEZONEs are left out, since they depend on
    the machine's zone data."""
    digest = blake2b(goal.text.encode(), digest_size=8)
    for shelf in shelves.by_person.values():
        digest.update(shelf.calendar.person.encode())
        for text in shelf.objects.values():
            digest.update(text[text.index("BEGIN:VEVENT") :].encode())
    return f"{goal.kind}:{digest.hexdigest()}"
