"""What questions say: their sentences, the ways to name days and places, and how to read all that again."""

import re
from collections.abc import Mapping
from datetime import date, timedelta

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
        "What temperature will it have in {place} {day} at {hour}:00 local time, in {unit}?",
        "I land in {place} {day} at {hour}:00 local time. Which temperature awaits me, in {unit}?",
    ),
    "rain": (
        "How much precipitation will fall in {place} {day}, in {unit}?",
        "I need the precipitation total in {place} {day}, in {unit}.",
    ),
    "gusts": (
        "How strong will the strongest gust be in {place} {day}, in {unit}?",
        "We put up a tent in {place}. Which gusts must it stand {day}, at most, in {unit}?",
    ),
    "hours_above": (
        "For how many hours of the day will it be warmer than {threshold} {unit} in {place} {day}? Count the "
        "hourly values.",
        "How many of the 24 hourly temperatures in {place} {day} are above {threshold} {unit}?",
    ),
    "warmest": (
        "Where will it get warmest {day}: {places}?",
        "We go to one of these towns {day}: {places}? The one with the highest temperature, please.",
    ),
    "difference": (
        "By how many {unit} will the highest temperature in {place} exceed that in {other} {day}? Negative "
        "if it is lower.",
    ),
    "dry_afternoon": (
        "Which is the first dry afternoon in {place} in the {days} days starting {first}? Dry means no "
        "precipitation at any of the hours 12:00 to 17:00. Answer with the date, or none.",
        "Is there a dry afternoon in {place} in the {days} days starting {first} (no precipitation at any "
        "of the hours 12:00 to 17:00)? Answer with the date of the first one, or none.",
    ),
    "calm_day": (
        "On which day, of the {days} days starting {first}, do gusts in {place} stay under {threshold} "
        "{unit} for the first time? Answer with the date, or none.",
        "We want to fly a kite in {place}. Give the first date of the {days} days starting {first} with "
        "gusts under {threshold} {unit} all day, or none.",
    ),
    "wet_days": (
        "On how many of the {days} days starting {first} will there be at least 1 mm of precipitation in "
        "{place}?",
    ),
}
_WORDS: Mapping[str, str] = {
    "unit": r"°C|°F|km/h|m/s|mph|kn|mm|inch", "threshold": r"-?\d+", "days": r"\d+", "hour": r"\d+",
    "day": r"today|tomorrow|the day after tomorrow|in \d+ days|next \w+|on [\w ,-]+?",
    "first": r"today|tomorrow|the day after tomorrow|in \d+ days|next \w+|on [\w ,-]+?",
    "place": r".+?", "other": r".+?", "places": r".+?",
}  # fmt: skip


def _pattern(phrasing: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", phrasing)
    return re.compile(
        "".join(f"(?P<{part}>{_WORDS[part]})" if at % 2 else re.escape(part) for at, part in enumerate(parts))
    )


_PATTERNS = [(kind, _pattern(phrasing)) for kind, phrasings in PHRASINGS.items() for phrasing in phrasings]


def read_question(text: str) -> tuple[str, dict[str, str]]:
    """The kind of a question and its words.

    Raises:
        ValueError: it has none of the forms.
    """
    for kind, pattern in _PATTERNS:
        if found := pattern.fullmatch(text):
            return kind, found.groupdict()
    raise ValueError(f"no question: {text!r}")


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_AHEAD = ("today", "tomorrow", "the day after tomorrow")


def in_full(day: date) -> str:
    """`Monday, 3 March 2031`."""
    return f"{WEEKDAYS[day.weekday()]}, {day.day} {day:%B} {day.year}"


def read_in_full(text: str) -> date:
    """The first day that a text names in full."""
    found = re.search(r"day, (\d+) (\w+) (\d{4})", text)
    if found is None:
        raise ValueError(f"no day in {text!r}")
    month = next(number for number in range(1, 13) if f"{date(2000, number, 1):%B}" == found[2])
    return date(int(found[3]), month, int(found[1]))


def say_day(rng: np.random.Generator, today: date, day: date) -> str:
    """One of the ways to name a day up to two weeks ahead; each means only this day."""
    ahead = (day - today).days
    weekday = WEEKDAYS[day.weekday()]
    ways = [f"on {day.day} {day:%B}", f"on {day.isoformat()}"]
    if ahead < len(_AHEAD):
        ways += [_AHEAD[ahead]] * 3
    if ahead >= 2:
        ways.append(f"in {ahead} days")
        # Which month is meant follows: the next day of this number.
        ways.append(f"on the {_ordinal(day.day)}")
    if 1 <= ahead <= 7:
        ways += [f"next {weekday}"] * 2
    elif ahead >= 8:
        ways.append(f"on {weekday} week, the {_ordinal(day.day)}")
    return ways[int(rng.integers(len(ways)))]


def read_day(text: str, today: date) -> date:
    """The day that `say_day` named.

    Raises:
        ValueError: none of its ways.
    """
    if text in _AHEAD:
        return today + timedelta(_AHEAD.index(text))
    if found := re.fullmatch(r"in (\d+) days", text):
        return today + timedelta(int(found[1]))
    for ahead in range(15):
        day = today + timedelta(ahead)
        weekday = WEEKDAYS[day.weekday()]
        if text in (f"on {day.day} {day:%B}", f"on {day.isoformat()}"):
            return day
        if ahead and text in (f"on the {_ordinal(day.day)}", f"next {weekday}"):
            return day
        if text == f"on {weekday} week, the {_ordinal(day.day)}":
            return day
    raise ValueError(f"no day: {text!r}")


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def say_place(place: Place, is_ambiguous: bool, rng: np.random.Generator) -> str:
    """A place's name; with region and country where others have the same name."""
    if is_ambiguous:
        return f"{place.name} in {place.region}, {place.country}"
    return f"{place.name} in {place.country}" if rng.random() < 0.3 else place.name


def read_place(text: str) -> tuple[str, str, str]:
    """Name, region and country; empty where they are not said."""
    name, _, where = text.partition(" in ")
    region, _, country = where.rpartition(", ")
    return name, region, country


def listed(names: list[str]) -> str:
    """`A, B or C`, with semicolons: names of places have commas."""
    return "; ".join(names[:-1]) + "; or " + names[-1]
