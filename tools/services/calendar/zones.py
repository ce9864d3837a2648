"""Time zones in calendars: VTIMEZONE from an IANA name, and a zone from a VTIMEZONE (RFC 5545, 3.6.5)."""

import functools
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ludus.tools.services.calendar.lines import BadCalendar, folded, read_line, unfolded
from ludus.tools.services.calendar.rules import WEEKDAYS, read_moment, read_rule, starts

KNOWN_FROM, KNOWN_TO = 2020, 2050
"""The years in which our VTIMEZONEs are right."""
FOLLOWED_FROM, FOLLOWED_TO = datetime(1970, 1, 1), datetime(2100, 1, 1)
"""The period in which other people's VTIMEZONEs are followed."""
WEEK, HOUR, SECOND = timedelta(weeks=1), timedelta(hours=1), timedelta(seconds=1)


@functools.lru_cache(maxsize=4096)
def is_iana(name: str) -> bool:
    """Whether this is the IANA name of a time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


# Writing


@functools.lru_cache
def vtimezone(name: str) -> str:
    """The VTIMEZONE of an IANA zone, without the final line end. Onsets are in the local time before the
    change, and given by a rule where possible, which is understood even by servers that read only an
    observance's first date.
    """
    zone = ZoneInfo(name)
    begin = datetime(KNOWN_FROM, 1, 1, tzinfo=UTC)
    lines = ["BEGIN:VTIMEZONE", f"TZID:{name}"]
    changes = _by_kind(zone)
    if not changes or not all(isinstance(when, str) for *_, when in changes):
        # In force until the first change.
        offset = begin.astimezone(zone).utcoffset() or timedelta(0)
        label = begin.astimezone(zone).tzname() or name
        lines += _observance("STANDARD", datetime(FOLLOWED_FROM.year, 1, 1), label, offset, offset, [])
    for label, before, after, onsets, when in changes:
        kind = "DAYLIGHT" if after > before else "STANDARD"
        repeats = [f"RRULE:{when}"] if isinstance(when, str) else [f"RDATE:{','.join(when)}"] if when else []
        lines += _observance(kind, onsets[0], label, before, after, repeats)
    return "\r\n".join([*lines, "END:VTIMEZONE"])


def _observance(
    kind: str, onset: datetime, label: str, before: timedelta, after: timedelta, repeats: Iterable[str]
) -> list[str]:
    return [
        f"BEGIN:{kind}",
        f"DTSTART:{onset:%Y%m%dT%H%M%S}",
        *map(folded, repeats),
        f"TZNAME:{label}",
        f"TZOFFSETFROM:{_offset_text(before)}",
        f"TZOFFSETTO:{_offset_text(after)}",
        f"END:{kind}",
    ]


Change = tuple[str, timedelta, timedelta, list[datetime], str | list[str]]
"""Abbreviation, offset before and after, onsets, and their rule (or the onsets after the first, as text)."""


def _by_kind(zone: ZoneInfo) -> list[Change]:
    """A zone's clock changes, grouped by abbreviation and offsets."""
    found: dict[tuple[str, timedelta, timedelta], list[datetime]] = {}
    for moment in _changes(zone):
        after = moment.astimezone(zone)
        before_offset = (moment - SECOND).astimezone(zone).utcoffset() or timedelta(0)
        key = (after.tzname() or zone.key, before_offset, after.utcoffset() or timedelta(0))
        found.setdefault(key, []).append(moment.replace(tzinfo=None) + before_offset)
    return [
        (*key, onsets, _yearly(onsets) or [f"{onset:%Y%m%dT%H%M%S}" for onset in onsets[1:]])
        for key, onsets in found.items()
    ]


def _changes(zone: ZoneInfo) -> Iterator[datetime]:
    """When a zone's offset from UTC changes: in UTC, to the second."""
    low, end = datetime(KNOWN_FROM, 1, 1, tzinfo=UTC), datetime(KNOWN_TO + 1, 1, 1, tzinfo=UTC)
    while low < end:
        high = low + WEEK
        if low.astimezone(zone).utcoffset() != high.astimezone(zone).utcoffset():
            before, first, last = low.astimezone(zone).utcoffset(), low, high
            while last - first > SECOND:
                middle = (first + (last - first) // 2).replace(microsecond=0)
                first, last = (
                    (middle, last) if middle.astimezone(zone).utcoffset() == before else (first, middle)
                )
            yield last
        low = high


def _yearly(onsets: Sequence[datetime]) -> str | None:
    """The rule for onsets that recur every year on the same weekday at the same time; otherwise None."""
    first = onsets[0]
    if [onset.year for onset in onsets] != [*range(first.year, KNOWN_TO + 1)]:
        return None
    if len({(onset.month, onset.weekday(), onset.time()) for onset in onsets}) != 1:
        return None
    head, weekday = f"FREQ=YEARLY;BYMONTH={first.month}", WEEKDAYS[first.weekday()]
    days = [onset.day for onset in onsets]
    if len({(day - 1) // 7 for day in days}) == 1:
        return f"{head};BYDAY={(first.day - 1) // 7 + 1}{weekday}"
    if all((onset + WEEK).month != onset.month for onset in onsets):
        return f"{head};BYDAY=-1{weekday}"
    if max(days) - min(days) < 7:
        week = ",".join(str(min(days) + day) for day in range(7))
        return f"{head};BYMONTHDAY={week};BYDAY={weekday}"
    return None


def _offset_text(offset: timedelta) -> str:
    seconds = int(offset.total_seconds())
    minutes, rest = divmod(abs(seconds), 60)
    text = f"{'-' if seconds < 0 else '+'}{minutes // 60:02}{minutes % 60:02}"
    return f"{text}{rest:02}" if rest else text


# Reading


class WrittenZone(tzinfo):
    """The zone that a VTIMEZONE describes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.key, first, changes = _read_zone(text)
        self._offsets = [first, *(after for _, _, after in changes)]
        self._instants = [onset - before for onset, before, _ in changes]
        # The local times from which the change holds, if shown for the first and for the second time.
        self._thresholds = [
            [onset + pick(after - before, timedelta(0)) for onset, before, after in changes]
            for pick in (max, min)
        ]

    def utcoffset(self, dt: datetime | None) -> timedelta:
        if dt is None:
            return self._offsets[0]
        return self._offsets[bisect_right(self._thresholds[dt.fold], dt.replace(tzinfo=None, fold=0))]

    def dst(self, dt: datetime | None) -> timedelta | None:
        return None

    def tzname(self, dt: datetime | None) -> str:
        return self.key

    def fromutc(self, dt: datetime) -> datetime:
        place = bisect_right(self._instants, dt.replace(tzinfo=None, fold=0))
        local = dt + self._offsets[place]
        is_second = place > 0 and local.replace(tzinfo=None) < self._thresholds[0][place - 1]
        return local.replace(fold=int(is_second))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WrittenZone) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return written_zone, (self.text,)

    def __repr__(self) -> str:
        return f"WrittenZone({self.key!r})"


@functools.lru_cache(maxsize=256)
def written_zone(text: str) -> WrittenZone:
    """The zone of a VTIMEZONE.

    Raises:
        BadCalendar: it makes no sense.
    """
    return WrittenZone(text)


def _read_zone(text: str) -> tuple[str, timedelta, list[tuple[datetime, timedelta, timedelta]]]:
    """A VTIMEZONE's name, initial offset, and changes in order: onset in the local time before it, offset
    before and after."""
    name, changes = "", list[tuple[datetime, timedelta, timedelta]]()
    observance: dict[str, list[str]] | None = None
    for line in map(read_line, unfolded(text)):
        if line.name == "BEGIN" and line.value.upper() in ("STANDARD", "DAYLIGHT"):
            observance = {}
        elif line.name == "END" and observance is not None:
            changes += _onsets(observance)
            observance = None
        elif observance is not None:
            observance.setdefault(line.name, []).append(line.value)
        elif line.name == "TZID":
            name = line.value
    if not changes:
        raise BadCalendar(f"the VTIMEZONE {name!r} says no offset")
    changes.sort(key=lambda change: change[0] - change[1])
    return name, changes[0][1], changes


def _onsets(observance: dict[str, list[str]]) -> Iterator[tuple[datetime, timedelta, timedelta]]:
    try:
        first = read_moment(observance["DTSTART"][0])
        before, after = (_offset(observance[name][0]) for name in ("TZOFFSETFROM", "TZOFFSETTO"))
    except KeyError as error:
        raise BadCalendar(f"an observance of a VTIMEZONE has no {error}") from None
    if not isinstance(first, datetime):
        raise BadCalendar("an observance of a VTIMEZONE begins at no time")
    first = first.replace(tzinfo=None)
    onsets = {first}
    for text in observance.get("RDATE", []):
        dates = map(read_moment, text.split(","))
        onsets |= {onset.replace(tzinfo=None) for onset in dates if isinstance(onset, datetime)}
    for text in observance.get("RRULE", []):
        rule = read_rule(text)
        if rule.frequency != "YEARLY":
            raise BadCalendar(f"RRULE {text[:200]}: clocks change by FREQ=YEARLY")
        if isinstance(rule.until, datetime) and rule.until.tzinfo is UTC:
            rule = replace(rule, until=rule.until.replace(tzinfo=None) + before)
        onsets.update(starts(rule, first, FOLLOWED_FROM, FOLLOWED_TO))
    return ((onset, before, after) for onset in sorted(onsets))


def _offset(text: str) -> timedelta:
    found = re.fullmatch(r"([+-])(\d\d)(\d\d)(\d\d)?", text, re.ASCII)
    if found is None or int(found[2]) > 23 or int(found[3]) > 59 or int(found[4] or 0) > 59:
        raise BadCalendar(f"{text[:20]!r} is no offset from UTC of the form +0100")
    size = timedelta(hours=int(found[2]), minutes=int(found[3]), seconds=int(found[4] or 0))
    return -size if found[1] == "-" else size
