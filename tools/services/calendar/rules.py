"""Recurrence rules (RFC 5545, 3.3.10): read, followed, moved.

Starts are local times, without a zone. A rule is followed period by period, and the days of each period are
filtered, so that the work is bounded by the number of days passed.
"""

import functools
import re
from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from ludus.tools.services.calendar.lines import BadCalendar
from ludus.tools.services.calendar.model import Moment

FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
"""Finer frequencies do not belong in a calendar."""
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
MAX_COUNT = 10_000
MAX_STARTS_A_DAY = 24
FIRST_YEAR, LAST_YEAR = 1600, 2400
"""The range of years in a calendar, far enough from the limits of Python's dates for any arithmetic."""
PATIENCE_DAYS = 15_000
"""A rule that matches nothing for this many days has ended: 29 February falls on a given weekday again after
at most 40 years."""

_RANGES = {
    "BYSECOND": (0, 59),
    "BYMINUTE": (0, 59),
    "BYHOUR": (0, 23),
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYWEEKNO": (-53, 53),
    "BYMONTH": (1, 12),
    "BYSETPOS": (-366, 366),
}
_PARTS = (*_RANGES, "FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY")
_MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rule:
    """A recurrence rule. Parts that it lacks are empty tuples."""

    frequency: str
    interval: int = 1
    count: int | None = None
    until: Moment | None = None
    """The last possible start: in UTC, in local time, or a whole day."""
    week_start: int = 0
    """0 for Monday."""
    months: tuple[int, ...] = ()
    week_numbers: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    weekdays: tuple[tuple[int, int], ...] = ()
    """Which of its kind in the month or year (0: all; −1: the last), and the weekday, 0 for Monday."""
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    seconds: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()

    @property
    def starts_a_day(self) -> int:
        """The maximum number of starts in a day."""
        return (len(self.hours) or 1) * (len(self.minutes) or 1) * (len(self.seconds) or 1)


# Reading


@functools.lru_cache(maxsize=8192)
def read_rule(text: str) -> Rule:
    """
    Raises:
        BadCalendar: it makes no sense, or gives more starts than a calendar should hold.
    """
    parts = rule_parts(text)
    for name, value in parts.items():
        if name not in _PARTS and not name.startswith("X-"):
            raise BadCalendar(f"RRULE {text[:200]}: there is no part {name!r}")
        if not value:
            raise BadCalendar(f"RRULE {text[:200]}: {name} is empty")
    frequency = parts.get("FREQ", "")
    if frequency not in FREQUENCIES:
        raise BadCalendar(f"RRULE {text[:200]}: FREQ must be one of {', '.join(FREQUENCIES)}")
    numbers = {name: _numbers(parts, name) for name in _RANGES}
    rule = Rule(
        frequency,
        _positive(parts, "INTERVAL", 1_000_000) or 1,
        _positive(parts, "COUNT", MAX_COUNT),
        read_moment(parts["UNTIL"]) if "UNTIL" in parts else None,
        WEEKDAYS.index(_among(parts.get("WKST", "MO"), "WKST")),
        numbers["BYMONTH"],
        numbers["BYWEEKNO"],
        numbers["BYYEARDAY"],
        numbers["BYMONTHDAY"],
        tuple(map(_weekday, parts["BYDAY"].split(","))) if "BYDAY" in parts else (),
        numbers["BYHOUR"],
        numbers["BYMINUTE"],
        numbers["BYSECOND"],
        numbers["BYSETPOS"],
    )
    if wrong := _contradiction(rule):
        raise BadCalendar(f"RRULE {text[:200]}: {wrong}")
    return rule


def read_moment(text: str) -> Moment:
    """A day, a local time, or a time in UTC, as iCalendar writes them.

    Raises:
        BadCalendar: it is neither, or its year is out of range.
    """
    found = _MOMENT.fullmatch(text)
    try:
        if found is None:
            raise ValueError("write it as in 20310304T090000")
        year, month, day = int(found[1]), int(found[2]), int(found[3])
        if not FIRST_YEAR <= year <= LAST_YEAR:
            raise ValueError(f"years go from {FIRST_YEAR} to {LAST_YEAR}")
        if found[4] is None:
            return date(year, month, day)
        # A leap second is read as the second before it.
        second = min(int(found[6]), 59)
        return datetime(
            year, month, day, int(found[4]), int(found[5]), second, tzinfo=UTC if found[7] else None
        )
    except ValueError as error:
        raise BadCalendar(f"{text[:40]!r} is no time: {error}") from None


def _contradiction(rule: Rule) -> str | None:
    """Why a rule contradicts itself (the table in RFC 5545, 3.3.10); None if it does not."""
    frequency = rule.frequency
    if rule.week_numbers and frequency != "YEARLY":
        return "BYWEEKNO belongs to FREQ=YEARLY"
    if rule.year_days and frequency != "YEARLY":
        return "BYYEARDAY belongs to FREQ=YEARLY"
    if rule.month_days and frequency == "WEEKLY":
        return "BYMONTHDAY does not go with FREQ=WEEKLY"
    if any(which for which, _ in rule.weekdays) and (
        frequency not in ("MONTHLY", "YEARLY") or rule.week_numbers
    ):
        return "BYDAY with numbers belongs to FREQ=MONTHLY, or to FREQ=YEARLY without BYWEEKNO"
    if rule.positions and not any(
        (
            *(rule.months, rule.week_numbers, rule.year_days, rule.month_days, rule.weekdays),
            *(rule.hours, rule.minutes, rule.seconds),
        )
    ):
        return "BYSETPOS needs another BY… to choose from"
    if rule.starts_a_day > MAX_STARTS_A_DAY:
        return f"it gives more than {MAX_STARTS_A_DAY} starts a day"
    if rule.month_days and not any(
        abs(day) <= monthrange(2000, month)[1]
        for day in rule.month_days
        for month in rule.months or range(1, 13)
    ):
        return "no month that it names has such a day"
    return None


def rule_parts(text: str) -> dict[str, str]:
    """The parts of a rule, in capitals.

    Raises:
        BadCalendar: a part occurs twice, or is malformed.
    """
    found: dict[str, str] = {}
    for part in text.upper().rstrip(";").split(";"):
        name, equals, value = part.partition("=")
        if not equals or name in found:
            raise BadCalendar(f"RRULE {text[:200]}: {part[:40]!r} {'is no part' if not equals else 'again'}")
        found[name] = value
    return found


def rule_part(rule: str, name: str) -> str | None:
    """A part of a rule, such as its COUNT; None if it has none."""
    return rule_parts(rule).get(name) if rule else None


def with_rule_parts(rule: str, **parts: str | None) -> str:
    """A rule with some parts replaced; None removes a part."""
    merged: dict[str, str | None] = {**rule_parts(rule), **parts}
    return ";".join(f"{name}={value}" for name, value in merged.items() if value is not None)


def _positive(parts: Mapping[str, str], name: str, most: int) -> int | None:
    text = parts.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise BadCalendar(f"RRULE: {name}={text[:20]} must be a number from 1 to {most}")
    return int(text)


def _numbers(parts: Mapping[str, str], name: str) -> tuple[int, ...]:
    if name not in parts:
        return ()
    least, most = _RANGES[name]
    numbers = set()
    for word in parts[name].split(","):
        if not re.fullmatch(r"[+-]?[0-9]{1,3}", word) or not least <= int(word) <= most:
            raise BadCalendar(f"RRULE: {name}={word[:20]} must be a number from {least} to {most}")
        if least < 0 and int(word) == 0:
            raise BadCalendar(f"RRULE: {name} counts from 1 on, or from -1 back")
        numbers.add(int(word))
    return tuple(sorted(numbers))


def _weekday(word: str) -> tuple[int, int]:
    found = re.fullmatch(r"([+-]?[0-9]{1,2})?([A-Z]{2})", word)
    if found is None or (found[1] is not None and not 1 <= abs(int(found[1])) <= 53):
        raise BadCalendar(f"RRULE: BYDAY={word[:20]} must be a weekday, such as TU or 2TU")
    return int(found[1] or 0), WEEKDAYS.index(_among(found[2], "BYDAY"))


def _among(day: str, name: str) -> str:
    if day not in WEEKDAYS:
        raise BadCalendar(f"RRULE: {name} {day[:20]} must be one of {', '.join(WEEKDAYS)}")
    return day


# Following


def starts(rule: Rule, first: datetime, low: datetime, high: datetime) -> Iterator[datetime]:
    """The starts that a rule gives from `low` to before `high`, in order, all in local time.

    Args:
        first: the start of the series, from which periods count. It is included only if the rule gives it.
    """
    rule = _complete(rule, first)
    until = _last(rule)
    times = [
        time(hour, minute, second)
        for hour in rule.hours or (first.hour,)
        for minute in rule.minutes or (first.minute,)
        for second in rule.seconds or (first.second,)
    ]
    # Without a count, earlier starts do not matter.
    number = 0 if rule.count else _periods_before(rule, first, low)
    left, idle = rule.count, 0
    while left is None or left > 0:
        begin, passed, days = _period(rule, first, number)
        number += 1
        if begin is None or begin > min(high, until).date():
            return
        moments = [datetime.combine(day, moment) for day in days for moment in times]
        if rule.positions:
            count = len(moments)
            chosen = {place - 1 if place > 0 else count + place for place in rule.positions}
            moments = [moment for place, moment in enumerate(moments) if place in chosen]
        idle = 0 if moments else idle + passed
        if idle > PATIENCE_DAYS:
            return
        for moment in moments:
            if moment < first:
                continue
            if moment > until or moment >= high or left == 0:
                return
            left = None if left is None else left - 1
            if moment >= low:
                yield moment


def _complete(rule: Rule, first: datetime) -> Rule:
    """A rule, completed with what the start of the series implies."""
    if rule.week_numbers or rule.year_days or rule.month_days or rule.weekdays:
        if rule.week_numbers and not (rule.weekdays or rule.month_days or rule.year_days):
            return replace(rule, weekdays=((0, first.weekday()),))
        return rule
    if rule.frequency == "YEARLY":
        return replace(rule, months=rule.months or (first.month,), month_days=(first.day,))
    if rule.frequency == "MONTHLY":
        return replace(rule, month_days=(first.day,))
    if rule.frequency == "WEEKLY":
        return replace(rule, weekdays=((0, first.weekday()),))
    return rule


def _last(rule: Rule) -> datetime:
    until = rule.until
    if until is None:
        return datetime(LAST_YEAR, 12, 31)
    if not isinstance(until, datetime):
        return datetime.combine(until, time.max)
    return until.replace(tzinfo=None)


def _periods_before(rule: Rule, first: datetime, low: datetime) -> int:
    if low <= first:
        return 0
    if rule.frequency == "YEARLY":
        passed = low.year - first.year
    elif rule.frequency == "MONTHLY":
        passed = 12 * (low.year - first.year) + low.month - first.month
    else:
        passed = (low - first).days // (7 if rule.frequency == "WEEKLY" else 1)
    return max(0, passed // rule.interval - 1)


def _period(rule: Rule, first: datetime, number: int) -> tuple[date | None, int, list[date]]:
    """A period of a rule: when it begins (None after the last year), its number of days, and which match."""
    step = number * rule.interval
    if rule.frequency in ("DAILY", "WEEKLY"):
        length = 7 if rule.frequency == "WEEKLY" else 1
        back = (first.weekday() - rule.week_start) % 7 if length == 7 else 0
        ordinal = first.toordinal() - back + step * length
        if ordinal > date(LAST_YEAR, 12, 31).toordinal():
            return None, 0, []
        begin = date.fromordinal(ordinal)
        days = [date.fromordinal(ordinal + day) for day in range(length)]
        return begin, length * rule.interval, [day for day in days if _matches(rule, day)]
    if rule.frequency == "MONTHLY":
        year, month = divmod(12 * first.year + first.month - 1 + step, 12)
        if year > LAST_YEAR:
            return None, 0, []
        return date(year, month + 1, 1), 30 * rule.interval, _of_month(rule, year, month + 1)
    year = first.year + step
    if year > LAST_YEAR:
        return None, 0, []
    days = [day for month in range(1, 13) for day in _of_month(rule, year, month)]
    return date(year, 1, 1), 365 * rule.interval, days


def _of_month(rule: Rule, year: int, month: int) -> list[date]:
    """The days of a month that match."""
    if rule.months and month not in rule.months:
        return []
    length = monthrange(year, month)[1]
    numbers: list[int] | range = range(1, length + 1)
    if rule.month_days:
        counted = {day if day > 0 else length + 1 + day for day in rule.month_days}
        numbers = sorted(day for day in counted if 1 <= day <= length)
    return [day for number in numbers if _matches(rule, day := date(year, month, number))]


def _matches(rule: Rule, day: date) -> bool:
    if rule.months and day.month not in rule.months:
        return False
    if rule.month_days:
        length = monthrange(day.year, day.month)[1]
        if day.day not in rule.month_days and day.day - length - 1 not in rule.month_days:
            return False
    if rule.weekdays and not any(
        weekday == day.weekday() and (not which or _is_nth(rule, day, which))
        for which, weekday in rule.weekdays
    ):
        return False
    if rule.year_days:
        ordinal, length = day.timetuple().tm_yday, date(day.year, 12, 31).timetuple().tm_yday
        if ordinal not in rule.year_days and ordinal - length - 1 not in rule.year_days:
            return False
    return not rule.week_numbers or _in_weeks(rule, day)


def _is_nth(rule: Rule, day: date, which: int) -> bool:
    """Whether a day is the first, second, … or last of its weekday in its month or year."""
    if rule.frequency == "MONTHLY" or rule.months:
        number, length = day.day, monthrange(day.year, day.month)[1]
    else:
        number, length = day.timetuple().tm_yday, date(day.year, 12, 31).timetuple().tm_yday
    return which == ((number - 1) // 7 + 1 if which > 0 else -((length - number) // 7 + 1))


def _in_weeks(rule: Rule, day: date) -> bool:
    """Whether a day lies in a week that the rule names: week 1 is the first with at least four days in the
    year."""
    fourth = day + timedelta(days=3 - (day.weekday() - rule.week_start) % 7)
    number = (fourth.timetuple().tm_yday - 1) // 7 + 1
    after = (date(fourth.year, 12, 31) - fourth).days // 7
    return number in rule.week_numbers or -after - 1 in rule.week_numbers


# Moving


class CannotMove(ValueError):
    """No change of the rule would move all its starts by that number of days."""


def moved_rule(text: str, days: int, clock_changes: bool) -> str:
    """A rule whose starts are `days` later; its UNTIL stays as it is.

    Args:
        clock_changes: whether the time of day changes, too.

    Raises:
        CannotMove: no rule of this form can express that.
    """
    rule = read_rule(text)
    if clock_changes and (rule.hours or rule.minutes or rule.seconds):
        raise CannotMove("its rule names hours; move single dates, or make a new series")
    if not days:
        return text
    changed: dict[str, str] = {}
    if rule.month_days:
        later = [day + days for day in rule.month_days]
        if not all(
            1 <= old <= 28 and 1 <= new <= 28 for old, new in zip(rule.month_days, later, strict=True)
        ):
            raise CannotMove("its rule counts days of months, some of which have fewer")
        changed["BYMONTHDAY"] = ",".join(map(str, later))
    if rule.weekdays:
        if rule.month_days or any(which for which, _ in rule.weekdays):
            raise CannotMove("its rule counts weekdays of months or years")
        changed["BYDAY"] = ",".join(WEEKDAYS[(day + days) % 7] for _, day in rule.weekdays)
        if rule.interval > 1:
            # The days must stay grouped into the same weeks.
            changed["WKST"] = WEEKDAYS[(rule.week_start + days) % 7]
    if (rule.months and not rule.month_days) or rule.week_numbers or rule.year_days or rule.positions:
        raise CannotMove("its rule names months, weeks or places in them")
    return with_rule_parts(text, **changed)
