"""How questions name days and places, and how to read them again."""

import re
from datetime import date, timedelta

import numpy as np

from ludus.tools.services.geography import Place

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
