"""Changes to calendar objects: pure functions from an object to its next version."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from ludus.tools.services.calendar import expand
from ludus.tools.services.calendar.expand import instant
from ludus.tools.services.calendar.model import (
    Attendee,
    Event,
    Item,
    Moment,
    Status,
    VEvent,
    aware,
    exactly,
    lasting,
)
from ludus.tools.services.calendar.rules import moved_rule, rule_part, with_rule_parts


class NoOccurrence(ValueError):
    """The series has no occurrence with the given start."""


def find(item: Item, occurrence: datetime, zone: tzinfo) -> Event:
    """The occurrence with a certain start according to the series.

    Raises:
        NoOccurrence: there is no such occurrence; the message names those nearby.
    """
    # A moved occurrence may lie far from the start that identifies it.
    around = timedelta(days=60)
    near = expand.events([item], occurrence - around, occurrence + around, zone)
    for event in near:
        if event.occurrence is not None and instant(event.occurrence) == instant(occurrence):
            return event
    there = [event.occurrence for event in near if event.occurrence is not None]
    there.sort(key=lambda start: abs(start - occurrence))
    words = ", ".join(start.isoformat(timespec="minutes") for start in sorted(there[:3]))
    raise NoOccurrence(
        f"{item.main.summary!r} has no occurrence {occurrence.isoformat(timespec='minutes')}; "
        + (f"the nearest ones are {words}" if words else "there is none within 60 days")
    )


def moved(item: Item, start: datetime, end: datetime) -> Item:
    """Move an event, or a whole series, to another time. A series keeps its zone; its exceptions and its rule
    move by the same amount of clock time.

    Raises:
        CannotMove: no rule can express the moved series.
    """
    main = item.main
    if not item.is_series:
        begin, finish = _days_if_whole(start, end, main.start)
        return replace(item, main=replace(main, start=begin, end=finish, sequence=main.sequence + 1))
    first = _like(start, main.start)
    shift, length = _clock(first) - _clock(main.start), lasting(start, end)
    zone = start.tzinfo or UTC
    longer = length - lasting(aware(main.start, zone), aware(main.end, zone))

    def later(moment: Moment) -> Moment:
        return moment + shift

    changes = tuple(
        replace(
            change,
            start=later(change.start),
            end=_after(later(change.end), longer),
            occurrence=None if change.occurrence is None else later(change.occurrence),
            sequence=change.sequence + 1,
        )
        for change in item.changes
    )
    rule = main.rule
    if rule:
        days = (_clock(first).date() - _clock(main.start).date()).days
        rule = moved_rule(rule, days, _clock(first).time() != _clock(main.start).time())
        if until := rule_part(rule, "UNTIL"):
            rule = with_rule_parts(rule, UNTIL=_until_later(until, shift, main.start))
    return replace(
        item,
        main=replace(
            main,
            start=first,
            end=_after(first, length),
            rule=rule,
            excluded=tuple(map(later, main.excluded)),
            added=tuple(map(later, main.added)),
            sequence=main.sequence + 1,
        ),
        changes=changes,
    )


def occurrence_moved(item: Item, event: Event, start: datetime, end: datetime) -> Item:
    """Move one occurrence of a series to another time."""
    begin, until = _days_if_whole(start, end, event.details.start)
    changed = replace(_change(item, event), start=begin, end=until, sequence=event.details.sequence + 1)
    return _with_change(item, changed)


def occurrence_removed(item: Item, event: Event) -> Item:
    """A series without one of its occurrences."""
    which = _name_of(item, event)
    # What else a change covers still takes place.
    changes = tuple(change for change in item.changes if change.following or not _names(change, which))
    main = item.main
    if instant(which) in map(instant, main.added) and instant(which) != instant(main.start):
        added = tuple(start for start in main.added if instant(start) != instant(which))
        main = replace(main, added=added)
    else:
        main = replace(main, excluded=(*main.excluded, which))
    return replace(item, main=replace(main, sequence=main.sequence + 1), changes=changes)


def split(item: Item, event: Event, zone: tzinfo) -> tuple[Item | None, Item]:
    """A series cut before one of its occurrences: what comes before (None if nothing does), and the rest as a
    series of its own.

    Raises:
        CannotMove: what follows had already been moved, in a way that no rule can express.
    """
    main = item.main
    which = _name_of(item, event)
    at = aware(which, zone).astimezone(UTC)

    def before(moment: Moment) -> bool:
        return aware(moment, zone).astimezone(UTC) < at

    rule = main.rule
    if count := rule_part(rule, "COUNT"):
        left = int(count) - expand.count_before(rule, main.start, which)
        rule = with_rule_parts(rule, COUNT=str(left)) if left > 0 else ""
    length = lasting(aware(main.start, zone), aware(main.end, zone))
    tail = replace(
        main,
        uid=f"{main.uid}-{at:%Y%m%dT%H%M%SZ}",
        start=which,
        end=_after(which, length),
        rule=rule,
        excluded=tuple(start for start in main.excluded if not before(start)),
        added=tuple(start for start in main.added if not before(start) and instant(start) != instant(which)),
    )
    kept, later = [], []
    for change in item.changes:
        if change.occurrence is not None and before(change.occurrence):
            kept.append(change)
        else:
            later.append(replace(change, uid=tail.uid))
    after = replace(item, main=tail, changes=tuple(later))
    earlier = [change for change in kept if change.following]
    if earlier:
        # The last of them defines the tail from its first occurrence on.
        after = _as_changed(after, max(earlier, key=lambda change: aware(change.occurrence, zone)), zone)  # type: ignore[arg-type]
    if not before(main.start):
        return None, after
    head = replace(
        main,
        rule=main.rule and with_rule_parts(main.rule, COUNT=None, UNTIL=_just_before(which)),
        excluded=tuple(filter(before, main.excluded)),
        added=tuple(filter(before, main.added)),
        sequence=main.sequence + 1,
    )
    return replace(item, main=head, changes=tuple(kept)), after


def _as_changed(series: Item, change: VEvent, zone: tzinfo) -> Item:
    """A series with an earlier change, which covers all that follows, applied from the series' start."""
    begins = aware(expand.as_much_later(change, series.main.start), zone)
    length = lasting(aware(change.start, zone), aware(change.end, zone))
    moved_series = moved(series, begins, exactly(begins, length))
    main = moved_series.main
    like = replace(
        change,
        **{name: getattr(main, name) for name in ("uid", "start", "end", "rule", "excluded", "added")},
        occurrence=None,
        following=False,
    )
    # Single exceptions stay where they were; only the starts that identify them have moved.
    changes = tuple(
        replace(new, start=old.start, end=old.end)
        for new, old in zip(moved_series.changes, series.changes, strict=True)
    )
    return replace(moved_series, main=like, changes=changes)


def invited(item: Item, organizer: Attendee, attendees: tuple[Attendee, ...]) -> Item:
    """An object to which people are invited; those invited before keep their answers."""

    def with_people(part: VEvent) -> VEvent:
        known = part.attendees or (organizer,)
        new = tuple(guest for guest in attendees if all(guest.address != old.address for old in known))
        return replace(
            part,
            organizer=part.organizer or organizer.address,
            attendees=(*known, *new),
            sequence=part.sequence + 1,
        )

    return replace(item, main=with_people(item.main), changes=tuple(map(with_people, item.changes)))


def answered(item: Item, address: str, status: Status, event: Event | None = None) -> Item:
    """An object with somebody's answer to all of it or to one occurrence."""
    if event is not None:
        return _with_change(item, _answered(_change(item, event), address, status))
    parts = [_answered(part, address, status) for part in item.parts]
    return replace(item, main=parts[0], changes=tuple(parts[1:]))


def stamped(item: Item, now: datetime) -> Item:
    """An object stamped with the time of writing."""
    parts = [replace(part, stamp=now) for part in item.parts]
    return replace(item, main=parts[0], changes=tuple(parts[1:]))


def _answered(part: VEvent, address: str, status: Status) -> VEvent:
    return replace(
        part,
        attendees=tuple(
            replace(guest, status=status) if guest.address == address else guest for guest in part.attendees
        ),
    )


def _name_of(item: Item, event: Event) -> Moment:
    """The RECURRENCE-ID of an occurrence, in the form of the series' start."""
    if event.occurrence is None:
        raise NoOccurrence(f"{item.main.summary!r} is no series")
    return _like(event.occurrence, item.main.start)


def _change(item: Item, event: Event) -> VEvent:
    """The VEVENT for a single occurrence."""
    details = event.details
    which = _name_of(item, event)
    if details.occurrence is not None and not details.following:
        return details
    return replace(
        details,
        start=_like(event.start, details.start),
        end=_like(event.end, details.start),
        rule="",
        excluded=(),
        added=(),
        occurrence=which,
        following=False,
    )


def _with_change(item: Item, change: VEvent) -> Item:
    assert change.occurrence is not None
    others: list[VEvent] = []
    for other in item.changes:
        if not _names(other, change.occurrence):
            others.append(other)
        elif other.following and not change.following:
            others += _handed_on(item, other)
    return replace(item, changes=(*others, change))


def _handed_on(item: Item, change: VEvent) -> list[VEvent]:
    """A change of an occurrence and all later ones, turned into a change of the next occurrence and all later
    ones."""
    assert change.occurrence is not None
    zone = getattr(change.start, "tzinfo", None) or UTC
    at = aware(change.occurrence, zone).astimezone(UTC)
    names = [
        event.occurrence.astimezone(UTC)
        for event in expand.events([item], at, at + expand.MAX_SPAN, zone)
        if event.details is change and event.occurrence is not None
    ]
    following = min((name for name in names if name > at), default=None)
    if following is None:
        return []
    which = _like(following, item.main.start)
    start = expand.as_much_later(change, which)
    length = lasting(aware(change.start, zone), aware(change.end, zone))
    return [replace(change, occurrence=which, start=start, end=_after(start, length))]


def _names(change: VEvent, which: Moment) -> bool:
    return change.occurrence is not None and instant(change.occurrence) == instant(which)


def _after(start: Moment, length: timedelta) -> Moment:
    """A moment this much later; a day moves by whole days, however long they are."""
    if isinstance(start, datetime):
        return exactly(start, length)
    return start + timedelta(days=round(length / timedelta(days=1)))


def _like(moment: datetime, model: Moment) -> Moment:
    """A time in the same form as another: in its zone, without a zone, or as a day."""
    if not isinstance(model, datetime):
        return moment.date()
    return moment.replace(tzinfo=None) if model.tzinfo is None else moment.astimezone(model.tzinfo)


def _days_if_whole(start: datetime, end: datetime, model: Moment) -> tuple[Moment, Moment]:
    """Whole days stay whole days if moved from midnight to midnight."""
    whole = not isinstance(model, datetime) and start.time() == end.time() == time()
    return (start.date(), end.date()) if whole else (start, end)


def _clock(moment: Moment) -> datetime:
    """The local date and time, without a zone."""
    return datetime(*moment.timetuple()[:6])


def _just_before(moment: Moment) -> str:
    """The latest UNTIL that excludes a start, in the form that the start requires (RFC 5545, 3.3.10)."""
    if not isinstance(moment, datetime):
        day: date = moment - timedelta(days=1)
        return f"{day:%Y%m%d}"
    if moment.tzinfo is None:
        return f"{moment - timedelta(seconds=1):%Y%m%dT%H%M%S}"
    return f"{moment.astimezone(UTC) - timedelta(seconds=1):%Y%m%dT%H%M%SZ}"


def _until_later(until: str, shift: timedelta, start: Moment) -> str:
    """An UNTIL this much later on the clock of the series."""
    form = "%Y%m%dT%H%M%SZ" if until.endswith("Z") else "%Y%m%dT%H%M%S" if "T" in until else "%Y%m%d"
    moment = datetime.strptime(until, form)
    if until.endswith("Z") and isinstance(start, datetime) and start.tzinfo is not None:
        local = moment.replace(tzinfo=UTC).astimezone(start.tzinfo)
        return f"{(local + shift).astimezone(UTC):{form}}"
    return f"{moment + shift:{form}}"
