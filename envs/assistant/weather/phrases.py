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
        "I have plants outside in {place}. What is the lowest temperature {day}, in {unit}?",
    ),
    "at_hour": (
        "What will the temperature be in {place} {day} at {hour}:00 local time, in {unit}?",
        "I land in {place} {day} at {hour}:00 local time. What temperature awaits me, in {unit}?",
    ),
    "rain": (
        "How much precipitation will fall in {place} {day}, in {unit}?",
        "I need the precipitation total in {place} {day}, in {unit}.",
    ),
    "gusts": (
        "How strong will the strongest gust be in {place} {day}, in {unit}?",
        "We are putting up a tent in {place}. What is the strongest gust it must stand {day}, in {unit}?",
    ),
    "hours_above": (
        "For how many hours of the {days} days starting {first} will it be warmer than {threshold} {unit} in "
        "{place}? Count the hourly values.",
        "How many of the hourly temperatures in {place} in the {days} days starting {first} are above "
        "{threshold} {unit}?",
    ),
    "warmest": (
        "How warm will these towns get {day}: {places}? List all of them by their highest temperature, the "
        "warmest first.",
        "We can go to one of these towns {day}: {places}. Put them in order of their highest temperature, "
        "the warmest first.",
    ),
    "difference": (
        "By how many {unit} will the highest temperature in {place} exceed that in {other} {day}? Negative "
        "if it is lower.",
    ),
    "first_rain": (
        "When does it first rain in {place} in the {days} days starting {first}? Give the date and the hour "
        "of the first hourly precipitation above 0 mm, as YYYY-MM-DDTHH:MM.",
        "The hay in {place} has to be in before it rains. Of the {days} days starting {first}, which is the "
        "first hour with precipitation above 0 mm? Answer as YYYY-MM-DDTHH:MM.",
    ),
    "first_gust": (
        "When do gusts in {place} first reach {threshold} {unit} in the {days} days starting {first}? Give "
        "the date and the hour of the first such hourly value, as YYYY-MM-DDTHH:MM.",
        "The crane in {place} must stop at gusts of {threshold} {unit} or more. In the {days} days starting "
        "{first}, which is the first such hour? Answer as YYYY-MM-DDTHH:MM.",
    ),
    "wet_hours": (
        "In how many hours will there be precipitation above 0 mm in {place} in the {days} days starting "
        "{first}? Count the hourly values.",
        "How many of the hourly precipitation values in {place} are above 0 mm in the {days} days starting "
        "{first}?",
    ),
}
_DAY = r"(?:today|tomorrow) \([\w ,]+\)|on [\w ,-]+?"
_WORDS: Mapping[str, str] = {
    "unit": r"°C|°F|km/h|m/s|mph|kn|mm|inch", "threshold": r"-?\d+", "days": r"\d+", "hour": r"\d+",
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
