"""The wording of questions: sentences, ways to name days and places, and how to read them back."""

import re
from collections.abc import Mapping
from datetime import date

import numpy as np

from ludus.tools.services.geography import Place

PHRASINGS: Mapping[str, tuple[str, ...]] = {
    "high": (
        "How warm will it get in {place} {day}? Give the highest temperature in {unit}.",
        "What is the highest temperature, in {unit}, that I should expect in {place} {day}?",
    ),
    "low": (
        "How cold will it get in {place} {day}? Give the lowest temperature in {unit}.",
        "I have plants outside in {place}. What will the lowest temperature be {day}, in {unit}?",
    ),
    "at_hour": (
        "What will the temperature be in {place} at {hour}:00 local time {day}, in {unit}?",
        "I land in {place} at {hour}:00 local time {day}. What temperature should I expect, in {unit}?",
    ),
    "rain": (
        "How much precipitation will fall in {place} {day}, in {unit}?",
        "I have a garden in {place}. How much precipitation will it get in total {day}, in {unit}?",
    ),
    "gusts": (
        "How strong will the strongest gust be in {place} {day}, in {unit}?",
        "We are putting up a tent in {place}. What is the strongest gust it will have to withstand {day}, in "
        "{unit}?",
    ),
    "hours_above": (
        "For how many hours will it be warmer than {threshold} {unit} in {place} during the {days} days "
        "starting {first}? Count the hourly values.",
        "During the {days} days starting {first}, how many of the hourly temperatures in {place} will be "
        "above {threshold} {unit}?",
    ),
    "warmest": (
        "Rank these places by their highest temperature {day}, the warmest first: {places}.",
        "We can visit one of these places {day}: {places}. Put all of them in order of that day's highest "
        "temperature, the warmest first.",
    ),
    "difference": (
        "How much warmer will it get in {place} than in {other} {day}? Subtract the second place's highest "
        "temperature from the first's, and give the difference in {unit}.",
    ),
    "first_rain": (
        "When will the first precipitation fall in {place} during the {days} days starting {first}? Give the "
        "date and hour of the first hourly value above 0 mm, as YYYY-MM-DDTHH:MM.",
        "Our roof in {place} is open for repairs. During the {days} days starting {first}, what is the first "
        "hour with precipitation above 0 mm? Answer as YYYY-MM-DDTHH:MM.",
    ),
    "first_gust": (
        "When will gusts in {place} first reach {threshold} {unit} during the {days} days starting {first}? "
        "Give the date and hour of the first such hourly value, as YYYY-MM-DDTHH:MM.",
        "A crane in {place} must stop when gusts reach {threshold} {unit}. During the {days} days starting "
        "{first}, what is the first hour in which they do? Answer as YYYY-MM-DDTHH:MM.",
    ),
    "wet_hours": (
        "For how many hours will there be precipitation in {place} during the {days} days starting {first}? "
        "Count the hourly values above 0 mm.",
        "During the {days} days starting {first}, how many of the hourly precipitation values in {place} "
        "will be above 0 mm?",
    ),
}
_SPOKEN: Mapping[str, str] = {"inch": "inches", "kn": "knots"}
"""Units that a request does not name by their symbol."""
_DAY = r"(?:today|tomorrow) \([\w ,]+\)|on [\w ,-]+?"
_WORDS: Mapping[str, str] = {
    "unit": r"°C|°F|km/h|m/s|mph|knots|mm|inches", "threshold": r"-?\d+", "days": r"\d+", "hour": r"\d+",
    "day": _DAY, "first": _DAY,
    "place": r".+?", "other": r".+?", "places": r".+?",
}  # fmt: skip


def _pattern(phrasing: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", phrasing)
    return re.compile(
        "".join(f"(?P<{part}>{_WORDS[part]})" if at % 2 else re.escape(part) for at, part in enumerate(parts))
    )


_PATTERNS = [(kind, _pattern(phrasing)) for kind, phrasings in PHRASINGS.items() for phrasing in phrasings]


def read_question(text: str) -> tuple[str, dict[str, str]]:
    """The kind of a question and its fields.

    Raises:
        ValueError: it has none of the forms.
    """
    for kind, pattern in _PATTERNS:
        if found := pattern.fullmatch(text):
            return kind, found.groupdict()
    raise ValueError(f"no question: {text!r}")


def say_unit(unit: str) -> str:
    """A unit as a request names it: `inches` for `inch`."""
    return _SPOKEN.get(unit, unit)


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = tuple(f"{date(2000, number, 1):%B}" for number in range(1, 13))
_AHEAD = ("today", "tomorrow")


def in_full(day: date) -> str:
    """`Monday, 3 March 2031`."""
    return f"{WEEKDAYS[day.weekday()]}, {day.day} {day:%B} {day.year}"


def read_in_full(text: str) -> date:
    """The first day that a text names in full."""
    found = re.search(r"day, (\d+) (\w+) (\d{4})", text)
    if found is None:
        raise ValueError(f"no day in {text!r}")
    return date(int(found[3]), MONTHS.index(found[2]) + 1, int(found[1]))


def say_day(rng: np.random.Generator, today: date, day: date) -> str:
    """A way to name a day; each includes the date, so that it is unambiguous."""
    short = f"{WEEKDAYS[day.weekday()]}, {day.day} {day:%B}"
    ways = [f"on {short}"] * 3 + [f"on {short} {day.year}", f"on {day.day} {day:%B} {day.year}", f"on {day}"]
    ahead = (day - today).days
    if ahead < len(_AHEAD):
        ways += [f"{_AHEAD[ahead]} ({short})"] * 3
    return ways[int(rng.integers(len(ways)))]


def read_day(text: str, today: date) -> date:
    """The day named by `say_day`, within a year from today.

    Raises:
        ValueError: the text names no day in any of its ways.
    """
    if found := re.search(r"\d{4}-\d\d-\d\d", text):
        return date.fromisoformat(found[0])
    found = re.search(r"(\d+) (\w+)", text)
    if found is None or found[2] not in MONTHS:
        raise ValueError(f"no day: {text!r}")
    number, month = int(found[1]), MONTHS.index(found[2]) + 1
    return date(today.year + ((month, number) < (today.month, today.day)), month, number)


def say_place(place: Place, is_ambiguous: bool, rng: np.random.Generator) -> str:
    """A place's name, with region and country if others share the name."""
    if is_ambiguous:
        return f"{place.name} ({place.region}, {place.country})"
    return f"{place.name} ({place.country})" if rng.random() < 0.3 else place.name


def read_place(text: str) -> tuple[str, str, str]:
    """Name, region and country; empty if not given."""
    name, _, where = text.rstrip(")").partition(" (")
    region, _, country = where.rpartition(", ")
    return name, region, country


def listed(names: list[str]) -> str:
    """`A; B; C`: place names contain commas."""
    return "; ".join(names)
