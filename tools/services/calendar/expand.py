"""When calendar objects take place: series expanded, with their exceptions.

Starts follow local time; durations are exact (RFC 5545, 3.8.5.3), except for whole days. A start that the
clocks skip is read with the offset before the change (3.3.5), and so comes after it.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from operator import itemgetter

from ludus.tools.services.calendar import rules
from ludus.tools.services.calendar.model import Busy, Event, Item, Moment, VEvent, aware, lasting

BLOCK = timedelta(days=128)
"""Series are expanded in blocks, so that queries share the work."""
MARGIN = timedelta(days=1)
"""More than the largest difference between a time without a zone and the same time in UTC."""
MAX_SPAN = timedelta(days=4000)
"""The longest period expanded at once."""
MAX_EVENTS = 20_000
"""The maximum number of events in that period."""
STEP = timedelta(days=365)
"""The steps in which a long period is searched for a first start."""
MAX_STARTS = 50_000
"""The limit for one series; no series reaches it within one step."""
FIRST = datetime(1970, 1, 1)


def events(items: Iterable[Item], start: datetime, end: datetime, zone: tzinfo) -> list[Event]:
    """The events between two times, in order; an event counts if any part of it lies there.

    Args:
        zone: the zone of whole days and of times without a zone.

    Raises:
        ValueError: the end is not after the start or too far away, or there are more than `MAX_EVENTS`.
    """
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    if not start < end <= start + MAX_SPAN:
        raise ValueError(
            f"from {start} to {end}: the end must come after the start, by {MAX_SPAN.days} days at most"
        )
    found: list[Event] = []
    for item in items:
        for event in _of(item, start, end, zone):
            found.append(event)
            if len(found) > MAX_EVENTS:
                raise ValueError(
                    f"more than {MAX_EVENTS} events from {start} to {end}: ask for a shorter time"
                )
    found.sort(key=lambda event: (event.start.astimezone(UTC), event.end.astimezone(UTC), event.uid))
    return found


def takes_place(item: Item, start: datetime, end: datetime, zone: tzinfo) -> bool:
    """Whether any part of an object lies between two times."""
    if not item.is_series:
        low, high = start.astimezone(UTC), end.astimezone(UTC)
        return low < high and _overlaps(item.main.start, item.main.end, low, high, zone)
    return next(stepped(item, start, end, zone), None) is not None


def stepped(item: Item, start: datetime, end: datetime, zone: tzinfo) -> Iterator[Event]:
    """The events of an object between two times, however far apart, step by step. Those that reach from one
    step into the next come twice."""
    low, end = start.astimezone(UTC), end.astimezone(UTC)
    while low < end:
        high = min(end, low + STEP)
        yield from _of(item, low, high, zone)
        low = high


def busy(found: Iterable[Event], person: str, start: datetime, end: datetime) -> list[Busy]:
    """The times between two times when events keep a person busy, merged, in order."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    merged: list[Busy] = []
    for event in found:
        low, high = max(event.start.astimezone(UTC), start), min(event.end.astimezone(UTC), end)
        if low >= high or not event.is_busy_for(person):
            continue
        if merged and low <= merged[-1].end:
            merged[-1] = Busy(merged[-1].start, max(high, merged[-1].end))
        else:
            merged.append(Busy(low, high))
    return merged


def count_before(rule: str, first: Moment, before: Moment) -> int:
    """How many starts a rule gives from `first` to before `before`, including excluded ones."""
    return sum(wall < _wall(before) for wall in _walls_with_count(rule, _wall(first), _until(rule, first)))


def instant(moment: Moment) -> Moment:
    """Identifies a start, however it is written: equal for the same time in two zones."""
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        return moment.astimezone(UTC)
    return moment


def _of(item: Item, start: datetime, end: datetime, zone: tzinfo) -> Iterator[Event]:
    """The events of an object between two times in UTC."""
    main = item.main
    if not item.is_series:
        if _overlaps(main.start, main.end, start, end, zone):
            occurrence = None if main.occurrence is None else aware(main.occurrence, zone)
            yield Event(aware(main.start, zone), aware(main.end, zone), occurrence, main, False)
        return
    excluded = {*map(instant, main.excluded)}
    # Somebody invited to single occurrences only has an object without the series.
    changes = item.parts if main.occurrence is not None else item.changes
    own = {instant(change.occurrence): change for change in changes if change.occurrence is not None}
    for name, change in own.items():
        if name not in excluded and _overlaps(change.start, change.end, start, end, zone):
            yield _event(change, change.start, change.occurrence, zone)
    if main.occurrence is not None:
        return
    followed = [(_utc(name, zone), change) for name, change in own.items() if change.following]
    followed.sort(key=itemgetter(0))
    before, after = _reach((main, *(change for _, change in followed)), zone)
    for name, begins in _starts(main, start - before, end + after, zone).items():
        if name in excluded or name in own:
            continue
        details, shifted, at = main, begins, _utc(begins, zone)
        for since, change in followed:
            if since <= at:
                details, shifted = change, as_much_later(change, begins)
        event = _event(details, shifted, begins, zone)
        if _meets(event.start.astimezone(UTC), event.end.astimezone(UTC), start, end):
            yield event


def _event(details: VEvent, begins: Moment, occurrence: Moment | None, zone: tzinfo) -> Event:
    """The event of a VEVENT at a start, with its own length."""
    if isinstance(details.start, datetime):
        where = getattr(begins, "tzinfo", None) or zone
        low = _utc(begins, zone)
        length = lasting(aware(details.start, zone), aware(details.end, zone))
        first, last = low.astimezone(where), (low + length).astimezone(where)
    else:
        day = _wall(begins).date()
        first, last = aware(day, zone), aware(day + (_wall(details.end) - _wall(details.start)), zone)
    named = None
    if occurrence is not None:
        named = aware(occurrence, zone)
        named = named.astimezone(UTC).astimezone(named.tzinfo)
    return Event(first, last, named, details, True)


def _starts(main: VEvent, start: datetime, end: datetime, zone: tzinfo) -> dict[Moment, Moment]:
    """The starts of a series around the time between two times in UTC, without its exceptions, by instant:
    first the rule's, in order, then the added ones."""
    is_day, where = not isinstance(main.start, datetime), getattr(main.start, "tzinfo", None)
    low = (start - MARGIN).astimezone(where or zone).replace(tzinfo=None)
    high = (end + MARGIN).astimezone(where or zone).replace(tzinfo=None)
    first, given = _wall(main.start), {}
    # The first start takes place even if the rule does not give it.
    for wall in (first, *_walls(main.rule, main.start, low, high)):
        if low <= wall < high:
            moment = wall.date() if is_day else wall.replace(tzinfo=where)
            given[instant(moment)] = moment
    for moment in main.added:
        if start - MARGIN <= _utc(moment, zone) < end + MARGIN:
            given.setdefault(instant(moment), moment)
    return given


def _walls(rule: str, first: Moment, low: datetime, high: datetime) -> Iterator[datetime]:
    """The starts that a rule gives, in local time: at least those between two times."""
    if not rule:
        return
    begin, until = _wall(first), _until(rule, first)
    if rules.read_rule(rule).count:
        yield from _walls_with_count(rule, begin, until)
        return
    number = 0
    for block in range((max(low, begin) - FIRST) // BLOCK, (high - FIRST) // BLOCK + 1):
        walls = _walls_of_block(rule, begin, until, block)
        number += len(walls)
        if number > MAX_STARTS:
            raise ValueError(f"a series starts more than {MAX_STARTS} times then: ask for a shorter time")
        yield from walls


@functools.lru_cache(maxsize=8192)
def _walls_with_count(rule: str, first: datetime, until: Moment | None) -> tuple[datetime, ...]:
    followed = replace(rules.read_rule(rule), until=until)
    return tuple(rules.starts(followed, first, first, datetime(rules.LAST_YEAR, 12, 31)))


@functools.lru_cache(maxsize=16384)
def _walls_of_block(rule: str, first: datetime, until: Moment | None, block: int) -> tuple[datetime, ...]:
    followed, low = replace(rules.read_rule(rule), until=until), FIRST + block * BLOCK
    return tuple(rules.starts(followed, first, low, low + BLOCK))


def _reach(parts: Iterable[VEvent], zone: tzinfo) -> tuple[timedelta, timedelta]:
    """How far before and after a period a start can lie such that its event reaches into the period."""
    before = after = timedelta(0)
    for part in parts:
        begins = _utc(part.start, zone)
        shift = begins - _utc(part.occurrence or part.start, zone)
        before, after = max(before, _utc(part.end, zone) - begins + shift), max(after, -shift)
    return before + MARGIN, after + MARGIN


def as_much_later(change: VEvent, begins: Moment) -> Moment:
    """Where a start moves if an earlier one was moved with all that follow: by the same amount of clock
    time."""
    assert change.occurrence is not None
    start, name = change.start, change.occurrence
    if not isinstance(start, datetime):
        return (_wall(begins) + (_wall(start) - _wall(name))).date()
    if start.tzinfo is not None:
        name, begins = (
            moment.astimezone(start.tzinfo) if isinstance(moment, datetime) and moment.tzinfo else moment
            for moment in (name, begins)
        )
    return (_wall(begins) + (_wall(start) - _wall(name))).replace(tzinfo=start.tzinfo)


def _utc(moment: Moment, zone: tzinfo) -> datetime:
    return aware(moment, zone).astimezone(UTC)


def _overlaps(low: Moment, high: Moment, start: datetime, end: datetime, zone: tzinfo) -> bool:
    return _meets(_utc(low, zone), _utc(high, zone), start, end)


def _meets(low: datetime, high: datetime, start: datetime, end: datetime) -> bool:
    return low < end and (start < high or low == high == start)


@functools.lru_cache(maxsize=8192)
def _until_of(rule: str, zone: tzinfo | None) -> Moment | None:
    until = rules.read_rule(rule).until
    if not isinstance(until, datetime) or until.tzinfo is None:
        return until
    return until.astimezone(zone).replace(tzinfo=None) if zone else until.replace(tzinfo=None)


def _until(rule: str, first: Moment) -> Moment | None:
    """The UNTIL of a rule in the local time of its starts."""
    until = _until_of(rule, first.tzinfo if isinstance(first, datetime) else None)
    if isinstance(until, datetime) and not isinstance(first, datetime):
        return datetime.combine(until.date(), datetime.max.time())
    return until


def _wall(moment: Moment) -> datetime:
    return datetime(*moment.timetuple()[:6])
