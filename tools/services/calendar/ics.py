"""Calendar objects as text and back (RFC 5545)."""

import functools
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ludus.tools.services.calendar.libraries import icalendar
from ludus.tools.services.calendar.model import STATUSES, Attendee, Item, Moment, VEvent

OURS = frozenset(
    [
        "UID",
        "DTSTAMP",
        "DTSTART",
        "DTEND",
        "DURATION",
        "SUMMARY",
        "LOCATION",
        "DESCRIPTION",
        "ORGANIZER",
        "ATTENDEE",
        "STATUS",
        "TRANSP",
        "RRULE",
        "EXDATE",
        "RDATE",
        "RECURRENCE-ID",
        "SEQUENCE",
    ]
)
"""Properties that a `VEvent` holds; every other is kept as text."""
KNOWN = 20_000
"""Texts whose meaning is remembered."""
FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
"""Of a rule; one that gives more starts than these has no place in a calendar, and takes long to follow."""

_read: dict[str, Item] = {}


class BadCalendar(ValueError):
    """A text that is no calendar object, or one that nobody could make sense of. The message says why."""


def read(text: str) -> Item:
    """The object that a text holds. What was read or written once is remembered.

    Raises:
        BadCalendar: it is no VCALENDAR with VEVENTs of one UID, or a date or rule in it makes no sense.
    """
    item = _read.get(text)
    if item is None:
        item = _remember(text, _parsed(text))
    return item


def write(item: Item) -> str:
    """An object as text. The lines are put together here, as building the library's objects first takes
    twenty times as long; `read` leaves understanding to the library."""
    zones: dict[str, None] = {}
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Ludus//Calendar//EN"]
    events = [line for part in item.parts for line in _event_lines(part, zones)]
    lines += item.zones
    lines += [_timezone(name) for name in zones if is_iana(name)]
    text = "\r\n".join((*lines, *events, "END:VCALENDAR", ""))
    if text not in _read:
        _remember(text, item)
    return text


def timing(item: Item) -> str:
    """When an object takes place, as the text of a calendar: equal for all that repeat alike. Its VEVENTs
    carry their place in `item.parts` as X-PLACE."""
    lines = ["BEGIN:VCALENDAR", *item.zones]
    for place, part in enumerate(item.parts):
        lines += ["BEGIN:VEVENT", "UID:0", f"X-PLACE:{place}", *_timing_lines(part, {}), "END:VEVENT"]
    return "\r\n".join((*lines, "END:VCALENDAR", ""))


def parsed(text: str) -> Any:
    """A text as the library's `Calendar`.

    Raises:
        BadCalendar: it is none.
    """
    try:
        calendar = icalendar.Calendar.from_ical(text)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        # What the library raises for texts that are no calendars is of all these kinds.
        raise BadCalendar(f"no iCalendar text: {error}") from error
    if calendar.name != "VCALENDAR":
        raise BadCalendar(f"a {calendar.name} where a VCALENDAR was expected")
    return calendar


def _remember(text: str, item: Item) -> Item:
    if len(_read) >= KNOWN:
        _read.clear()
    _read[text] = item
    return item


# Reading


def _parsed(text: str) -> Item:
    calendar = parsed(text)
    components = [one for one in calendar.subcomponents if one.name == "VEVENT"]
    if not components:
        raise BadCalendar("there is no VEVENT in it")
    try:
        events = [_event(one) for one in components]
    except BadCalendar:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise BadCalendar(f"a property makes no sense: {error}") from error
    if len({event.uid for event in events}) > 1:
        raise BadCalendar("its VEVENTs have different UIDs; an object of a calendar has one")
    mains = [event for event in events if event.occurrence is None]
    if len(mains) > 1:
        raise BadCalendar("it has two VEVENTs without a RECURRENCE-ID; all but one need one")
    changes = tuple(event for event in events if event.occurrence is not None)
    zones = tuple(
        _text_of(one)
        for one in calendar.subcomponents
        if one.name == "VTIMEZONE" and not is_iana(str(one.get("TZID", "")))
    )
    # Somebody who is invited to one occurrence only has an object without the series.
    main, changes = (mains[0], changes) if mains else (changes[0], changes[1:])
    return Item(main, changes, zones)


def _event(component: Any) -> VEvent:
    if component.errors:
        raise BadCalendar(f"{component.errors[0][0]}: {component.errors[0][1]}")
    if "UID" not in component or "DTSTART" not in component:
        raise BadCalendar("a VEVENT has no UID or no DTSTART")
    start: Moment = component["DTSTART"].dt
    if "DTEND" in component:
        end: Moment = component["DTEND"].dt
    else:
        day = timedelta(0) if isinstance(start, datetime) else timedelta(days=1)
        end = start + (component["DURATION"].dt if "DURATION" in component else day)
    if isinstance(start, datetime) != isinstance(end, datetime) or _naive(start) != _naive(end):
        raise BadCalendar("DTSTART and DTEND are of different kinds")
    if end < start:
        raise BadCalendar("DTEND lies before DTSTART")
    rules = _all(component, "RRULE")
    if len(rules) > 1:
        raise BadCalendar("it has two RRULEs")
    rule = rules[0].to_ical().decode() if rules else ""
    if rule and _rule_parts(rule).get("FREQ") not in FREQUENCIES:
        raise BadCalendar(f"RRULE {rule}: FREQ must be one of {', '.join(FREQUENCIES)}")
    stamp = component["DTSTAMP"].dt if "DTSTAMP" in component else datetime(1970, 1, 1, tzinfo=UTC)
    return VEvent(
        uid=str(component["UID"]),
        start=start,
        end=end,
        summary=str(component.get("SUMMARY", "")),
        location=str(component.get("LOCATION", "")),
        description=str(component.get("DESCRIPTION", "")),
        organizer=_address(component.get("ORGANIZER", "")),
        attendees=tuple(map(_attendee, _all(component, "ATTENDEE"))),
        status=str(component.get("STATUS", "CONFIRMED")).upper(),
        transparent=str(component.get("TRANSP", "OPAQUE")).upper() == "TRANSPARENT",
        rule=rule,
        excluded=_moments(component, "EXDATE"),
        added=_moments(component, "RDATE"),
        occurrence=component["RECURRENCE-ID"].dt if "RECURRENCE-ID" in component else None,
        sequence=int(component.get("SEQUENCE", 0)),
        stamp=stamp,
        other=_other(component),
    )


def _naive(moment: Moment) -> bool:
    return isinstance(moment, datetime) and moment.tzinfo is None


def _all(component: Any, name: str) -> list[Any]:
    values = component.get(name, [])
    return values if isinstance(values, list) else [values]


def _moments(component: Any, name: str) -> tuple[Moment, ...]:
    found = [one.dt for values in _all(component, name) for one in values.dts]
    if any(isinstance(one, tuple) for one in found):
        raise BadCalendar(f"{name} with periods is not understood; give starts")
    return tuple(found)


def _address(value: Any) -> str:
    text = str(value)
    return text[7:] if text[:7].lower() == "mailto:" else text


def _attendee(value: Any) -> Attendee:
    said = str(value.params.get("PARTSTAT", "NEEDS-ACTION")).lower()
    status = said if said in STATUSES else "needs-action"
    return Attendee(_address(value), str(value.params.get("CN", "")), status)


def _other(component: Any) -> tuple[str, ...]:
    lines = [
        component.content_line(name, value).to_ical().decode()
        for name, value in component.property_items(recursive=False)
        if name not in OURS and name not in ("BEGIN", "END")
    ]
    return (*lines, *map(_text_of, component.subcomponents))


def _text_of(component: Any) -> str:
    return component.to_ical().decode().rstrip("\r\n")


# Writing

_PLAIN = re.compile(r"[\w .:@!?()'/+-]*")
"""Texts that need no escaping."""


def _event_lines(event: VEvent, zones: dict[str, None]) -> Iterable[str]:
    yield "BEGIN:VEVENT"
    yield _folded(f"UID:{_escaped(event.uid)}")
    yield _moment_line("DTSTAMP", event.stamp.astimezone(UTC), zones)
    yield from _timing_lines(event, zones)
    for name, value in (
        ("SUMMARY", event.summary),
        ("LOCATION", event.location),
        ("DESCRIPTION", event.description),
    ):
        if value:
            yield _folded(f"{name}:{_escaped(value)}")
    if event.organizer:
        yield _folded(f"ORGANIZER:{_calendar_address(event.organizer)}")
    yield from map(_attendee_line, event.attendees)
    if event.status != "CONFIRMED":
        yield f"STATUS:{event.status}"
    if event.transparent:
        yield "TRANSP:TRANSPARENT"
    if event.sequence:
        yield f"SEQUENCE:{event.sequence}"
    yield from event.other
    yield "END:VEVENT"


@functools.lru_cache(maxsize=4096)
def _attendee_line(one: Attendee) -> str:
    name = f"{icalendar.Parameters(CN=one.name).to_ical().decode()};" if one.name else ""
    return _folded(f"ATTENDEE;{name}PARTSTAT={one.status.upper()}:{_calendar_address(one.address)}")


def _timing_lines(event: VEvent, zones: dict[str, None]) -> list[str]:
    lines = [_moment_line("DTSTART", event.start, zones), _moment_line("DTEND", event.end, zones)]
    if event.rule:
        lines.append(f"RRULE:{event.rule}")
    lines += [_moment_line("EXDATE", one, zones) for one in event.excluded]
    lines += [_moment_line("RDATE", one, zones) for one in event.added]
    if event.occurrence is not None:
        lines.append(_moment_line("RECURRENCE-ID", event.occurrence, zones))
    return lines


def _moment_line(name: str, moment: Moment, zones: dict[str, None]) -> str:
    if not isinstance(moment, datetime):
        return f"{name};VALUE=DATE:{_day(moment)}"
    local = f"{_day(moment)}T{moment.hour:02}{moment.minute:02}{moment.second:02}"
    if moment.tzinfo is None:
        return f"{name}:{local}"
    zone = zone_name(moment)
    if zone == "UTC":
        return f"{name}:{local}Z"
    zones[zone] = None
    return f"{name};TZID={zone}:{local}"


def _day(day: date) -> str:
    return f"{day.year:04}{day.month:02}{day.day:02}"


def zone_name(moment: datetime) -> str:
    """The name of a time's zone.

    Raises:
        BadCalendar: it is in none that has a name.
    """
    zone = moment.tzinfo
    if zone is UTC:
        return "UTC"
    name = zone.key if isinstance(zone, ZoneInfo) else icalendar.timezone.tzid_from_dt(moment)
    if not name:
        raise BadCalendar(f"{moment} is in no named time zone; give one, as in ZoneInfo('Europe/Berlin')")
    return str(name)


def _escaped(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return icalendar.vText(text).to_ical().decode()


def _calendar_address(address: str) -> str:
    return address if ":" in address else f"mailto:{address}"


def _folded(line: str) -> str:
    """Lines of more than 75 bytes are continued on the next."""
    if len(line) <= 75 and line.isascii():
        return line
    return icalendar.parser.Contentline(line).to_ical().decode()


@functools.lru_cache
def is_iana(name: str) -> bool:
    """Whether a time zone's name is an IANA one."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


@functools.lru_cache
def _timezone(name: str) -> str:
    """The VTIMEZONE of an IANA zone, without its last line end."""
    return _text_of(icalendar.Timezone.from_tzid(name, first_date=date(2020, 1, 1)))


def timezone(name: str) -> str:
    """A calendar that says nothing but a zone: what CalDAV keeps as a collection's time zone."""
    return "\r\n".join(("BEGIN:VCALENDAR", "VERSION:2.0", _timezone(name), "END:VCALENDAR", ""))


# Rules


def _rule_parts(rule: str) -> dict[str, str]:
    return {name.upper(): value for name, _, value in (part.partition("=") for part in rule.split(";"))}


def with_rule_parts(rule: str, **parts: str | None) -> str:
    """A rule with parts in place of its own; None removes one."""
    merged: dict[str, str | None] = {**_rule_parts(rule), **parts}
    return ";".join(f"{name}={value}" for name, value in merged.items() if value is not None)


def rule_part(rule: str, name: str) -> str | None:
    """A part of a rule, such as its COUNT; None when it has none."""
    return _rule_parts(rule).get(name)
