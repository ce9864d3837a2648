"""Calendar objects to text and back (RFC 5545)."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from ludus.tools.services.calendar.lines import (
    BadCalendar,
    Line,
    escaped,
    folded,
    parameter,
    read_line,
    unescaped,
    unfolded,
)
from ludus.tools.services.calendar.model import STATUSES, Attendee, Item, Moment, Status, VEvent, exactly
from ludus.tools.services.calendar.rules import FIRST_YEAR, LAST_YEAR, Rule, read_moment, read_rule
from ludus.tools.services.calendar.zones import WrittenZone, is_iana, vtimezone, written_zone
from ludus.tools.text import UNCARRIED

KEPT_BY_US = frozenset(
    [
        *(
            "UID",
            "DTSTAMP",
            "DTSTART",
            "DTEND",
            "DURATION",
            "SUMMARY",
            "LOCATION",
            "DESCRIPTION",
            "ORGANIZER",
        ),
        *("ATTENDEE", "STATUS", "TRANSP", "RRULE", "EXDATE", "RDATE", "RECURRENCE-ID", "SEQUENCE"),
    ]
)
"""Properties in the fields of a `VEvent`; all others are kept as text."""
ONCE = ("UID", "DTSTART", "DTEND", "DURATION", "RRULE", "RECURRENCE-ID")
"""Properties that would make an event ambiguous if repeated."""
LONGEST = timedelta(days=366)
"""The maximum length of an occurrence of a series, and the farthest that all following ones may be moved."""
MAX_DATES = 10_000
"""The maximum number of EXDATEs, and of RDATEs, in one VEVENT."""
STATES = ("CONFIRMED", "TENTATIVE", "CANCELLED")
"""What STATUS may say of an event."""
MOST_PLAIN = 20_000
"""The number of written objects that are remembered."""
_DURATION = re.compile(
    r"([+-]?)P(?:(\d{1,5})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,7})H)?(?:(\d{1,8})M)?(?:(\d{1,10})S)?)?", re.ASCII
)


_plain: dict[str, Item] = {}
"""Objects lately written that need not be read, by text."""


# Reading


def read(text: str) -> Item:
    """The object in a text. Results are cached.

    Raises:
        BadCalendar: it is not a VCALENDAR with VEVENTs of one UID, has a character that calendars cannot
            carry, or a date or rule that makes no sense.
    """
    return written_from(text) or _read(text)


def written_from(text: str) -> Item | None:
    """The object that `write` lately wrote as this text, if reading it would give the same."""
    return _plain.get(text)


@functools.lru_cache(maxsize=20_000)
def _read(text: str) -> Item:
    check_characters(text)
    return item_of(component(text))


def check_characters(text: str) -> None:
    """
    Raises:
        BadCalendar: it contains a character that calendars cannot carry.
    """
    if wrong := UNCARRIED.search(text.replace("\r\n", "\n")):
        raise BadCalendar(f"no iCalendar text: it has the character U+{ord(wrong[0]):04X}")


@dataclass(slots=True)
class Component:
    """One component: its properties, as unfolded lines, and the components inside it."""

    name: str
    lines: list[str] = field(default_factory=list)
    inner: list["Component"] = field(default_factory=list)

    @property
    def text(self) -> str:
        inner = [component.text for component in self.inner]
        return "\r\n".join([f"BEGIN:{self.name}", *self.lines, *inner, f"END:{self.name}"])


@functools.lru_cache(maxsize=256)
def component(text: str) -> Component:
    """The VCALENDAR that a text is. Results are cached, and must not be changed.

    Raises:
        BadCalendar: it is not a single VCALENDAR whose components begin and end in order.
    """
    root = Component("")
    stack = [root]
    for line in unfolded(text):
        head, _, value = line.partition(":")
        head = head.upper()
        if head == "BEGIN":
            if len(stack) > 20:
                raise BadCalendar("no iCalendar text: its components stand too deep in each other")
            begun = Component(value.strip().upper())
            stack[-1].inner.append(begun)
            stack.append(begun)
        elif head == "END":
            if len(stack) == 1 or stack.pop().name != value.strip().upper():
                raise BadCalendar(f"no iCalendar text: END:{value[:40]} ends nothing that has begun")
        elif len(stack) == 1:
            raise BadCalendar("no iCalendar text: it does not begin with BEGIN:VCALENDAR")
        else:
            stack[-1].lines.append(line)
    if len(stack) > 1 or len(root.inner) != 1:
        raise BadCalendar("no iCalendar text: it is not one VCALENDAR from BEGIN to END")
    if root.inner[0].name != "VCALENDAR":
        raise BadCalendar(f"a {root.inner[0].name[:40]} where a VCALENDAR was expected")
    return root.inner[0]


def own_zones(calendar: Component) -> dict[str, WrittenZone]:
    """The zones without IANA names that a calendar defines, by name.

    Raises:
        BadCalendar: one of them makes no sense.
    """
    zones: dict[str, WrittenZone] = {}
    for inner in calendar.inner:
        if inner.name == "VTIMEZONE":
            name = next((line.value for line in map(read_line, inner.lines) if line.name == "TZID"), "")
            if not is_iana(name):
                zones[name] = written_zone(inner.text)
    return zones


def item_of(calendar: Component) -> Item:
    """The object that a VCALENDAR holds.

    Raises:
        BadCalendar: see `read`.
    """
    try:
        return _item(calendar)
    except OverflowError as error:
        raise BadCalendar(f"a date or duration is too large: {error}") from None


def _item(calendar: Component) -> Item:
    zones = own_zones(calendar)
    events = [_event(inner, zones) for inner in calendar.inner if inner.name == "VEVENT"]
    if not events:
        raise BadCalendar("there is no VEVENT in it")
    if len({event.uid for event in events}) > 1:
        raise BadCalendar("its VEVENTs have different UIDs; an object of a calendar has one")
    mains = [event for event in events if event.occurrence is None]
    if len(mains) > 1:
        raise BadCalendar("it has two VEVENTs without a RECURRENCE-ID; all but one need one")
    changes = tuple(event for event in events if event.occurrence is not None)
    # Somebody invited to one occurrence only has an object without the series.
    main, changes = (mains[0], changes) if mains else (changes[0], changes[1:])
    return Item(main, changes, tuple(zone.text for zone in zones.values()))


def _event(component: Component, zones: Mapping[str, tzinfo]) -> VEvent:
    found: dict[str, list[Line]] = {}
    other = []
    for raw in component.lines:
        line = read_line(raw)
        if line.name in KEPT_BY_US:
            found.setdefault(line.name, []).append(line)
        else:
            other.append(raw)
    other += [inner.text for inner in component.inner]

    def value(name: str, default: str = "") -> str:
        return found[name][0].value if name in found else default

    def text(name: str) -> str:
        return unescaped(value(name))

    if "UID" not in found or "DTSTART" not in found:
        raise BadCalendar("a VEVENT has no UID or no DTSTART")
    for name in ONCE:
        if len(found.get(name, ())) > 1:
            raise BadCalendar(f"it has two {name}s")
    start = moment_of(found["DTSTART"][0], zones)
    end = _end(start, found, zones)
    rule = value("RRULE").upper().rstrip(";")
    if rule:
        read_rule(rule)
        _check_length(read_rule(rule), start, end)
    occurrence = found["RECURRENCE-ID"][0] if "RECURRENCE-ID" in found else None
    sequence = value("SEQUENCE", "0")
    if not re.fullmatch(r"\d{1,9}", sequence, re.ASCII):
        raise BadCalendar(f"SEQUENCE:{sequence[:20]} is no number")
    stamp = moment_of(found["DTSTAMP"][0], zones) if "DTSTAMP" in found else None
    which = None if occurrence is None else moment_of(occurrence, zones)
    following = occurrence is not None and occurrence.parameters.get("RANGE", "").upper() == "THISANDFUTURE"
    if which is not None and following and abs(_wall(start) - _wall(which)) > LONGEST:
        raise BadCalendar(f"RECURRENCE-ID: what follows is moved by more than {LONGEST.days} days")
    return VEvent(
        uid=text("UID"),
        start=start,
        end=end,
        summary=text("SUMMARY"),
        location=text("LOCATION"),
        description=text("DESCRIPTION"),
        organizer=_address(value("ORGANIZER")),
        attendees=tuple(map(_attendee, found.get("ATTENDEE", []))),
        status=value("STATUS", "CONFIRMED").upper(),
        transparent=value("TRANSP").upper() == "TRANSPARENT",
        rule=rule,
        excluded=_moments(found.get("EXDATE", []), zones),
        added=_moments(found.get("RDATE", []), zones),
        occurrence=which,
        following=following,
        sequence=int(sequence),
        stamp=stamp if isinstance(stamp, datetime) and stamp.tzinfo else datetime(1970, 1, 1, tzinfo=UTC),
        other=tuple(other),
    )


def _check_length(rule: Rule, start: Moment, end: Moment) -> None:
    """
    Raises:
        BadCalendar: more of a series would overlap than makes sense in a calendar.
    """
    length = _wall(end) - _wall(start)
    if length > LONGEST:
        raise BadCalendar(f"it repeats, and lasts {length.days} days; {LONGEST.days} is the most")
    if rule.starts_a_day > 1 and length > timedelta(days=1):
        raise BadCalendar("it begins several times a day, and lasts longer than a day")


def _end(start: Moment, found: Mapping[str, list[Line]], zones: Mapping[str, tzinfo]) -> Moment:
    """DTEND, or the end given by DURATION: calendar days, exact hours (RFC 5545, 3.3.6)."""
    if "DTEND" in found:
        end = moment_of(found["DTEND"][0], zones)
    elif "DURATION" in found:
        days, rest = _duration(found["DURATION"][0].value)
        if not isinstance(start, datetime) and rest:
            raise BadCalendar("a VEVENT of whole days lasts whole days")
        end = start + timedelta(days=days)
        if isinstance(end, datetime):
            end = exactly(end, rest)
    else:
        end = start if isinstance(start, datetime) else start + timedelta(days=1)
    if isinstance(start, datetime) != isinstance(end, datetime) or _is_floating(start) != _is_floating(end):
        raise BadCalendar("DTSTART and DTEND are of different kinds")
    if not FIRST_YEAR <= end.year <= LAST_YEAR:
        raise BadCalendar(f"it ends in the year {end.year}; years go from {FIRST_YEAR} to {LAST_YEAR}")
    if _instant(end) < _instant(start):
        raise BadCalendar("DTEND lies before DTSTART")
    return end


def _wall(moment: Moment) -> datetime:
    return datetime(*moment.timetuple()[:6])


def _instant(moment: Moment) -> Moment:
    is_zoned = isinstance(moment, datetime) and moment.tzinfo is not None
    return moment.astimezone(UTC) if is_zoned else moment  # type: ignore[union-attr]


def _is_floating(moment: Moment) -> bool:
    return isinstance(moment, datetime) and moment.tzinfo is None


def moment_of(line: Line, zones: Mapping[str, tzinfo]) -> Moment:
    """The moment that a property says.

    Args:
        zones: those that the calendar defines.

    Raises:
        BadCalendar: it is not one, or in a zone that does not exist.
    """
    return _in_zone(line.value, line, zones)


def _moments(lines: Iterable[Line], zones: Mapping[str, tzinfo]) -> tuple[Moment, ...]:
    found = []
    for line in lines:
        if "/" in line.value:
            raise BadCalendar(f"{line.name} with periods is not understood; give starts")
        found += [_in_zone(value, line, zones) for value in line.value.split(",")]
    if len(found) > MAX_DATES:
        raise BadCalendar(f"{line.name} has {len(found)} dates; {MAX_DATES} is the most")
    return tuple(found)


def _in_zone(value: str, line: Line, zones: Mapping[str, tzinfo]) -> Moment:
    try:
        moment = read_moment(value)
    except BadCalendar as error:
        raise BadCalendar(f"{line.name}: {error}") from None
    name = line.parameters.get("TZID")
    if name is None or not isinstance(moment, datetime) or moment.tzinfo is not None:
        return moment
    zone = zones.get(name)
    if zone is None:
        if not is_iana(name):
            raise BadCalendar(f"{line.name}: there is no time zone {name[:40]!r}")
        zone = UTC if name == "UTC" else ZoneInfo(name)
    return moment.replace(tzinfo=zone)


def _duration(text: str) -> tuple[int, timedelta]:
    """Days, and the time beyond them."""
    found = _DURATION.fullmatch(text.upper())
    if found is None or not any(found.groups()[1:]):
        raise BadCalendar(f"DURATION:{text[:20]} is none; write it as in PT1H30M")
    weeks, days, hours, minutes, seconds = (int(number or 0) for number in found.groups()[1:])
    days, rest = 7 * weeks + days, timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if found[1] == "-" and (days or rest):
        raise BadCalendar("DURATION is negative: DTEND lies before DTSTART")
    return days, rest


def _address(text: str) -> str:
    return text[7:] if text[:7].lower() == "mailto:" else text


def _attendee(line: Line) -> Attendee:
    said = line.parameters.get("PARTSTAT", "needs-action").lower()
    status: Status = next((status for status in STATUSES if status == said), "needs-action")
    return Attendee(_address(line.value), line.parameters.get("CN", ""), status)


# Writing


def written(root: Component) -> str:
    """A component as text, with its lines folded."""
    return "\r\n".join([*_lines(root), ""])


def _lines(root: Component) -> Iterator[str]:
    yield f"BEGIN:{root.name}"
    yield from map(folded, root.lines)
    for inner in root.inner:
        yield from _lines(inner)
    yield f"END:{root.name}"


def write(item: Item) -> str:
    """An object as text.

    Raises:
        BadCalendar: it has a character that no calendar can carry, or a time in a zone without a name.
    """
    zones: dict[str, None] = {}
    events = [line for part in item.parts for line in _event_lines(part, zones)]
    whole = "\n".join(events)
    if UNCARRIED.search(whole) or whole.count("\n") >= len(events):
        for line in events:
            _check(line)
    own = {written_zone(text).key for text in item.zones}
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Ludus//Calendar//EN"]
    lines += [folded(line) for text in item.zones for line in text.split("\r\n")]
    lines += [vtimezone(name) for name in zones if name not in own]
    text = "\r\n".join((*lines, *map(folded, events), "END:VCALENDAR", ""))
    if _is_plain(item):
        if len(_plain) >= MOST_PLAIN:
            _plain.clear()
        _plain[text] = item
    return text


def _check(line: str) -> None:
    wrong = UNCARRIED.search(line)
    if wrong or "\n" in line:
        character = "\n" if wrong is None else wrong[0]
        raise BadCalendar(f"U+{ord(character):04X} cannot stand in a calendar: {line[:60]!r}; leave it out")


def _is_plain(item: Item) -> bool:
    """Whether reading an object's text surely gives the same object: a single event with nothing in it that
    can be written in two ways. Most are, and reading them takes longer than all else in a query."""
    event = item.main
    if item.is_series or item.zones or event.excluded or event.other:
        return False
    if event.occurrence is not None or event.following or event.status not in STATES:
        return False
    if ":" in event.organizer or any(":" in guest.address for guest in event.attendees):
        return False
    times = (event.stamp, event.start, event.end)
    return (
        event.stamp.tzinfo is UTC
        and all(map(_is_plain_time, times))
        and _instant(event.start) <= _instant(event.end)
        and 0 <= event.sequence < 10**9
    )


def _is_plain_time(moment: Moment) -> bool:
    if not isinstance(moment, datetime) or moment.fold or moment.microsecond:
        return False
    zone = moment.tzinfo
    is_named = isinstance(zone, ZoneInfo) and zone.key not in (None, "UTC") and zone is ZoneInfo(zone.key)
    return (zone is UTC or is_named) and FIRST_YEAR <= moment.year <= LAST_YEAR


def _event_lines(event: VEvent, zones: dict[str, None]) -> Iterator[str]:
    yield "BEGIN:VEVENT"
    yield f"UID:{escaped(event.uid)}"
    yield moment_line("DTSTAMP", event.stamp.astimezone(UTC), zones)
    start = moment_line("DTSTART", event.start, zones)
    if event.rule and start.endswith("Z") and zone_name(event.start) != "UTC":  # type: ignore[arg-type]
        # In UTC it would not keep its local time when the clocks change again.
        raise BadCalendar(
            f"a series cannot begin at {event.start}, which the clocks show twice: begin it another day"
        )
    yield start
    yield moment_line("DTEND", event.end, zones)
    if event.rule:
        yield f"RRULE:{event.rule}"
    for moment in event.excluded:
        yield moment_line("EXDATE", moment, zones)
    for moment in event.added:
        yield moment_line("RDATE", moment, zones)
    if event.occurrence is not None:
        name = "RECURRENCE-ID;RANGE=THISANDFUTURE" if event.following else "RECURRENCE-ID"
        yield moment_line(name, event.occurrence, zones)
    for name, value in (
        ("SUMMARY", event.summary),
        ("LOCATION", event.location),
        ("DESCRIPTION", event.description),
    ):
        if value:
            yield f"{name}:{escaped(value)}"
    if event.organizer:
        yield f"ORGANIZER:{_calendar_address(event.organizer)}"
    yield from map(_attendee_line, event.attendees)
    if event.status != "CONFIRMED":
        yield f"STATUS:{event.status}"
    if event.transparent:
        yield "TRANSP:TRANSPARENT"
    if event.sequence:
        yield f"SEQUENCE:{event.sequence}"
    for text in event.other:
        yield from text.split("\r\n")
    yield "END:VEVENT"


def _attendee_line(attendee: Attendee) -> str:
    name = f"CN={parameter(attendee.name)};" if attendee.name else ""
    return f"ATTENDEE;{name}PARTSTAT={attendee.status.upper()}:{_calendar_address(attendee.address)}"


def moment_line(name: str, moment: Moment, zones: dict[str, None]) -> str:
    if not isinstance(moment, datetime):
        return f"{name};VALUE=DATE:{_day(moment)}"
    zone = None if moment.tzinfo is None else zone_name(moment)
    if zone not in (None, "UTC") and moment.fold and moment.utcoffset() != moment.replace(fold=0).utcoffset():
        # A time that clocks show twice means the first (3.3.5): the second can only be written like this.
        moment, zone = moment.astimezone(UTC), "UTC"
    local = f"{_day(moment)}T{moment.hour:02}{moment.minute:02}{moment.second:02}"
    if zone is None or zone == "UTC":
        return f"{name}:{local}{'Z' if zone else ''}"
    zones[zone] = None
    return f"{name};TZID={parameter(zone)}:{local}"


def _day(day: date) -> str:
    return f"{day.year:04}{day.month:02}{day.day:02}"


def zone_name(moment: datetime) -> str:
    """The name of a time's zone.

    Raises:
        BadCalendar: its zone has no name.
    """
    zone = moment.tzinfo
    if zone is UTC:
        return "UTC"
    name = zone.key if isinstance(zone, ZoneInfo | WrittenZone) else None
    if not name:
        raise BadCalendar(f"{moment} is in no named time zone; give one, as in ZoneInfo('Europe/Berlin')")
    return str(name)


def _calendar_address(address: str) -> str:
    return address if ":" in address else f"mailto:{address}"


def timezone(name: str) -> str:
    """A calendar with nothing but a zone: CalDAV's form of a collection's time zone."""
    return "\r\n".join(("BEGIN:VCALENDAR", "VERSION:2.0", vtimezone(name), "END:VCALENDAR", ""))
