"""When calendar objects take place: series expanded, with their exceptions."""

import functools
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import takewhile
from operator import attrgetter
from typing import Any

from ludus.tools.services.calendar import ics
from ludus.tools.services.calendar.libraries import recurring_ical_events, rrulestr
from ludus.tools.services.calendar.model import Busy, Event, Item, Moment, aware

BLOCK = timedelta(days=128)
"""Series are expanded block by block, so that what one question finds out serves the next."""
SHORT = 1000
"""Up to so many times a series is expanded all at once."""
MARGIN = timedelta(days=1)
"""More than what times without a zone and times in UTC can be apart."""
MOST = timedelta(days=4000)
"""The longest time that is expanded at once."""
FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def events(items: Iterable[Item], start: datetime, end: datetime, zone: tzinfo) -> list[Event]:
    """What takes place between two times, in order; an event belongs there if any of it does.

    Args:
        zone: what whole days and times without a zone are meant in.

    Raises:
        ValueError: the end is not after the start, or too far away.
    """
    if not start < end <= start + MOST:
        raise ValueError(
            f"from {start} to {end}: the end must come after the start, by {MOST.days} days at most"
        )
    found = [event for item in items for event in _of(item, start, end, zone)]
    return sorted(found, key=attrgetter("start", "end", "uid"))


def takes_place(item: Item, start: datetime, end: datetime, zone: tzinfo) -> bool:
    """Whether any of an object lies between two times."""
    return next(_of(item, start, end, zone), None) is not None


def busy(found: Iterable[Event], person: str, start: datetime, end: datetime) -> list[Busy]:
    """The times that events take from a person between two times, merged, in order."""
    merged: list[Busy] = []
    for event in found:
        low, high = max(event.start, start).astimezone(UTC), min(event.end, end).astimezone(UTC)
        if low >= high or not event.is_busy_for(person):
            continue
        if merged and low <= merged[-1].end:
            merged[-1] = Busy(merged[-1].start, max(high, merged[-1].end))
        else:
            merged.append(Busy(low, high))
    return merged


def starts(rule: str, first: Moment, before: Moment) -> int:
    """How many starts a rule gives from the first one to before another, those that are excluded included."""
    limit = _wall(before)
    return sum(1 for _ in takewhile(lambda wall: wall < limit, rrulestr(rule, dtstart=_wall(first))))


def _of(item: Item, start: datetime, end: datetime, zone: tzinfo) -> Iterator[Event]:
    main = item.main
    if not item.is_series:
        low, high = aware(main.start, zone), aware(main.end, zone)
        if _overlaps(low, high, start, end):
            yield Event(
                low, high, None if main.occurrence is None else aware(main.occurrence, zone), main, False
            )
        return
    if _is_plain(item):
        length = main.end - main.start  # type: ignore[operator]
        begins = _wall(main.start)
        walls = _walls(main.rule, begins)
        # The first start takes place even where the rule does not give it.
        for wall in walls if begins in walls else (begins, *walls):
            low = aware(wall.replace(tzinfo=main.start.tzinfo), zone)  # type: ignore[union-attr]
            if _overlaps(low, low + length, start, end):
                yield Event(low, low + length, low, main, True)
        return
    text, parts, seen = ics.timing(item), item.parts, set()
    for span in _spans(item, start, end):
        for place, first, last, occurrence in _between(text, *span):
            low, high = aware(first, zone), aware(last, zone)
            # What reaches from one span into the next is found in both.
            if (place, occurrence) not in seen and _overlaps(low, high, start, end):
                seen.add((place, occurrence))
                yield Event(low, high, aware(occurrence, zone), parts[place], True)


def _spans(item: Item, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Times to expand at once, which together hold what lies between two times: all of a short series, else
    blocks of days."""
    if _is_short(item.main.rule):
        first = _wall(item.main.start)
        walls = [first, *_walls(item.main.rule, first), *map(_wall, item.main.added)]
        walls += [_wall(moment) for part in item.parts for moment in (part.start, part.end)]
        length = _wall(item.main.end) - first
        return [(min(walls).replace(tzinfo=UTC) - MARGIN, max(walls).replace(tzinfo=UTC) + length + MARGIN)]
    blocks = range((start - MARGIN - FIRST) // BLOCK, (end + MARGIN - FIRST) // BLOCK + 1)
    return [(FIRST + block * BLOCK, FIRST + (block + 1) * BLOCK) for block in blocks]


def _overlaps(low: datetime, high: datetime, start: datetime, end: datetime) -> bool:
    return low < end and (start < high or low == high == start)


def _is_plain(item: Item) -> bool:
    """Whether a series has an end and no exceptions, so that its rule alone says what the clock on the wall
    shows whenever it takes place."""
    main = item.main
    return (
        not (item.changes or main.excluded or main.added or main.occurrence)
        and isinstance(main.start, datetime)
        and isinstance(main.end, datetime)
        and main.start.tzinfo is main.end.tzinfo
        and _is_short(main.rule)
    )


@functools.lru_cache(maxsize=8192)
def _is_short(rule: str) -> bool:
    return 0 < int(ics.rule_part(rule, "COUNT") or 0) <= SHORT


@functools.lru_cache(maxsize=8192)
def _walls(rule: str, first: datetime) -> tuple[datetime, ...]:
    """What the clock on the wall shows whenever a rule with an end gives a start."""
    return tuple(rrulestr(rule, dtstart=first))


def _wall(moment: Moment) -> datetime:
    return datetime(*moment.timetuple()[:6])


@functools.lru_cache(maxsize=512)
def _series(text: str) -> Any:
    return recurring_ical_events.of(ics.parsed(text))


@functools.lru_cache(maxsize=8192)
def _between(text: str, low: datetime, high: datetime) -> tuple[tuple[int, Moment, Moment, Moment], ...]:
    """What a series gives between two times: place among the parts, start, end, RECURRENCE-ID."""
    found = _series(text).between(low, high)
    return tuple(
        (int(one["X-PLACE"]), one["DTSTART"].dt, one["DTEND"].dt, one["RECURRENCE-ID"].dt) for one in found
    )
