"""What can be done to a calendar object: pure functions from one object to the next."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from ludus.tools.services.calendar import expand, ics
from ludus.tools.services.calendar.model import Attendee, Event, Item, Moment, Status, VEvent, aware


class NoOccurrence(ValueError):
    """A series has no occurrence that starts when it was said to."""


def find(item: Item, occurrence: datetime, zone: tzinfo) -> Event:
    """The occurrence of a series that bears a start, the one that the series gives it.

    Raises:
        NoOccurrence: there is none; the message names those nearby.
    """
    # A moved occurrence may lie far from the start that names it.
    around = timedelta(days=60)
    near = expand.events([item], occurrence - around, occurrence + around, zone)
    for event in near:
        if event.occurrence == occurrence:
            return event
    there = sorted(event.occurrence for event in near if event.occurrence is not None)
    there.sort(key=lambda one: abs(one - occurrence))
    words = ", ".join(one.isoformat(timespec="minutes") for one in sorted(there[:3]))
    raise NoOccurrence(
        f"{item.main.summary!r} has no occurrence {occurrence.isoformat(timespec='minutes')}; "
        + (f"the nearest ones are {words}" if words else "there is none within 60 days")
    )


def moved(item: Item, start: datetime, end: datetime) -> Item:
    """An event, or a whole series, to another time. A series keeps its zone: what is said of its exceptions
    moves along by the same time of the clock."""
    main = item.main
    if not item.is_series:
        begin, finish = _days_if_whole(start, end, main.start)
        return replace(item, main=replace(main, start=begin, end=finish, sequence=main.sequence + 1))
    first = _like(start, main.start)
    shift, length = _clock(first) - _clock(main.start), end - start

    def later(moment: Moment) -> Moment:
        return moment + shift

    changes = tuple(
        replace(
            one,
            start=later(one.start),
            end=later(one.start) + length,
            occurrence=None if one.occurrence is None else later(one.occurrence),
            sequence=one.sequence + 1,
        )
        for one in item.changes
    )
    rule = main.rule
    if until := ics.rule_part(rule, "UNTIL"):
        rule = ics.with_rule_parts(rule, UNTIL=_until_later(until, shift))
    if days := ics.rule_part(rule, "BYDAY"):
        rule = ics.with_rule_parts(
            rule, BYDAY=_days_later(days, _clock(first).date() - _clock(main.start).date())
        )
    return replace(
        item,
        main=replace(
            main,
            start=first,
            end=first + length,
            rule=rule,
            excluded=tuple(map(later, main.excluded)),
            added=tuple(map(later, main.added)),
            sequence=main.sequence + 1,
        ),
        changes=changes,
    )


def occurrence_moved(item: Item, event: Event, start: datetime, end: datetime) -> Item:
    """One occurrence of a series to another time."""
    begin, until = _days_if_whole(start, end, event.details.start)
    changed = replace(_change(item, event), start=begin, end=until, sequence=event.details.sequence + 1)
    return _with_change(item, changed)


def occurrence_removed(item: Item, event: Event) -> Item:
    """A series without one of its occurrences."""
    which = _name_of(item, event)
    changes = tuple(one for one in item.changes if one.occurrence != which)
    main = item.main
    if which in main.added and which != main.start:
        main = replace(main, added=tuple(one for one in main.added if one != which))
    else:
        main = replace(main, excluded=(*main.excluded, which))
    return replace(item, main=replace(main, sequence=main.sequence + 1), changes=changes)


def split(item: Item, event: Event, zone: tzinfo) -> tuple[Item | None, Item]:
    """A series cut before one of its occurrences: what comes before it (None if nothing does), and it with
    what follows, as a series of its own."""
    main = item.main
    which = _name_of(item, event)
    at = aware(which, zone)

    def before(moment: Moment) -> bool:
        return aware(moment, zone) < at

    rule = main.rule
    if count := ics.rule_part(rule, "COUNT"):
        left = int(count) - expand.starts(rule, main.start, which)
        rule = ics.with_rule_parts(rule, COUNT=str(left)) if left > 0 else ""
    length = aware(main.end, zone) - aware(main.start, zone)
    tail = replace(
        main,
        uid=f"{main.uid}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}",
        start=which,
        end=which + length,
        rule=rule,
        excluded=tuple(one for one in main.excluded if not before(one)),
        added=tuple(one for one in main.added if not before(one) and one != which),
    )
    kept, later = [], []
    for one in item.changes:
        if one.occurrence is not None and before(one.occurrence):
            kept.append(one)
        else:
            later.append(replace(one, uid=tail.uid))
    after = replace(item, main=tail, changes=tuple(later))
    if not before(main.start):
        return None, after
    head = replace(
        main,
        rule=main.rule and ics.with_rule_parts(main.rule, COUNT=None, UNTIL=_just_before(which)),
        excluded=tuple(filter(before, main.excluded)),
        added=tuple(filter(before, main.added)),
        sequence=main.sequence + 1,
    )
    return replace(item, main=head, changes=tuple(kept)), after


def invited(item: Item, organizer: Attendee, attendees: tuple[Attendee, ...]) -> Item:
    """An object to which people are invited; who was before keeps the answer given."""

    def with_people(part: VEvent) -> VEvent:
        known = part.attendees or (organizer,)
        new = tuple(one for one in attendees if all(one.address != old.address for old in known))
        return replace(
            part,
            organizer=part.organizer or organizer.address,
            attendees=(*known, *new),
            sequence=part.sequence + 1,
        )

    return replace(item, main=with_people(item.main), changes=tuple(map(with_people, item.changes)))


def answered(item: Item, address: str, status: Status, event: Event | None = None) -> Item:
    """An object with somebody's answer, to all of it or to one occurrence."""
    if event is not None:
        return _with_change(item, _answered(_change(item, event), address, status))
    parts = [_answered(part, address, status) for part in item.parts]
    return replace(item, main=parts[0], changes=tuple(parts[1:]))


def stamped(item: Item, now: datetime) -> Item:
    """An object as it is written at a time."""
    parts = [replace(part, stamp=now) for part in item.parts]
    return replace(item, main=parts[0], changes=tuple(parts[1:]))


def _answered(part: VEvent, address: str, status: Status) -> VEvent:
    return replace(
        part,
        attendees=tuple(
            replace(one, status=status) if one.address == address else one for one in part.attendees
        ),
    )


def _name_of(item: Item, event: Event) -> Moment:
    """The RECURRENCE-ID of an occurrence, in the form that the series' start has."""
    if event.occurrence is None:
        raise NoOccurrence(f"{item.main.summary!r} is no series")
    return _like(event.occurrence, item.main.start)


def _change(item: Item, event: Event) -> VEvent:
    """The VEVENT that stands for one occurrence alone."""
    if event.details.occurrence is not None:
        return event.details
    start, end = _like(event.start, item.main.start), _like(event.end, item.main.start)
    return replace(
        item.main, start=start, end=end, rule="", excluded=(), added=(), occurrence=_name_of(item, event)
    )


def _with_change(item: Item, change: VEvent) -> Item:
    others = (one for one in item.changes if one.occurrence != change.occurrence)
    return replace(item, changes=(*others, change))


def _like(moment: datetime, model: Moment) -> Moment:
    """A time in the form of another: in its zone, without one, or as a day."""
    if not isinstance(model, datetime):
        return moment.date()
    return moment.replace(tzinfo=None) if model.tzinfo is None else moment.astimezone(model.tzinfo)


def _days_if_whole(start: datetime, end: datetime, model: Moment) -> tuple[Moment, Moment]:
    """Whole days stay whole days as long as they are moved from midnight to midnight."""
    whole = not isinstance(model, datetime) and start.time() == end.time() == time()
    return (start.date(), end.date()) if whole else (start, end)


def _clock(moment: Moment) -> datetime:
    """What a clock and calendar on the wall show."""
    return datetime(*moment.timetuple()[:6])


_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def _days_later(days: str, shift: timedelta) -> str:
    """The weekdays of a rule, moved along when the series moves to another day."""
    return ",".join(
        one[:-2] + _DAYS[(_DAYS.index(one[-2:]) + shift.days) % 7] for one in days.upper().split(",")
    )


def _just_before(moment: Moment) -> str:
    """The last UNTIL that leaves a start out, in the form that the start calls for (RFC 5545, 3.3.10)."""
    if not isinstance(moment, datetime):
        day: date = moment - timedelta(days=1)
        return f"{day:%Y%m%d}"
    if moment.tzinfo is None:
        return f"{moment - timedelta(seconds=1):%Y%m%dT%H%M%S}"
    return f"{moment.astimezone(UTC) - timedelta(seconds=1):%Y%m%dT%H%M%SZ}"


def _until_later(until: str, shift: timedelta) -> str:
    form = "%Y%m%dT%H%M%SZ" if until.endswith("Z") else "%Y%m%dT%H%M%S" if "T" in until else "%Y%m%d"
    return (datetime.strptime(until, form) + shift).strftime(form)
