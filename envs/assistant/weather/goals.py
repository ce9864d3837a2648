"""What an answer must be: a number with a unit, a day, or one of several places."""

import math
import re
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

from ludus.tools.services.weather.gazetteer import folded

UNITS = {
    "°C": ("temperature", 1.0, 0.0),
    "°F": ("temperature", 5 / 9, -32 * 5 / 9),
    "km/h": ("wind", 1.0, 0.0),
    "m/s": ("wind", 3.6, 0.0),
    "mph": ("wind", 1.609344, 0.0),
    "kn": ("wind", 1.852, 0.0),
    "mm": ("precipitation", 1.0, 0.0),
    "inch": ("precipitation", 25.4, 0.0),
    "hours": ("hours", 1.0, 0.0),
    "days": ("days", 1.0, 0.0),
}
"""A unit's kind, and how a value becomes one in the kind's first unit: times a factor, plus an offset."""
_SPELLINGS = {
    "c": "°C", "celsius": "°C", "degrees celsius": "°C", "f": "°F", "fahrenheit": "°F",
    "degrees fahrenheit": "°F", "kmh": "km/h", "kph": "km/h", "mp/h": "mph", "ms": "m/s", "knots": "kn",
    "kt": "kn", "inches": "inch", "in": "inch", '"': "inch", "hour": "hours", "h": "hours", "day": "days",
    "millimetres": "mm", "millimeters": "mm",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Number:
    """A quantity in a unit."""

    value: float
    unit: str
    tolerance: float
    """In the unit."""

    def is_met(self, value: str, unit: str) -> bool:
        found = re.fullmatch(r"\s*([-+−]?\d+(?:\.\d*)?|[-+−]?\.\d+)\s*(\D.*)?", value[:100], re.DOTALL)
        if found is None:
            return False
        given = read_unit(unit or found[2] or self.unit)
        if given is None or UNITS[given][0] != UNITS[self.unit][0]:
            return False
        number = convert(float(found[1].replace("−", "-")), given, self.unit)
        return math.isfinite(number) and abs(number - self.value) <= self.tolerance + 1e-9

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Day:
    """A day, or that there is none."""

    day: date | None

    def is_met(self, value: str, unit: str) -> bool:
        return value.strip().casefold() == str(self)

    def __str__(self) -> str:
        return "none" if self.day is None else self.day.isoformat()


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of several names."""

    right: str
    wrong: tuple[str, ...]

    def is_met(self, value: str, unit: str) -> bool:
        said = folded(value[:200])

        def is_named(name: str) -> bool:
            return re.search(rf"(?<!\w){re.escape(folded(name))}(?!\w)", said) is not None

        return is_named(self.right) and not any(map(is_named, self.wrong))

    def __str__(self) -> str:
        return self.right


Goal: TypeAlias = Number | Day | OneOf


def read_unit(text: str) -> str | None:
    """The unit that a text means, however it is spelt; None for no unit."""
    spelt = text.strip()
    if spelt in UNITS:
        return spelt
    return _SPELLINGS.get(spelt.casefold()) or next(
        (unit for unit in UNITS if unit.casefold() == spelt.casefold()), None
    )


def convert(value: float, unit: str, to: str) -> float:
    """A value in another unit of the same kind."""
    _, factor, offset = UNITS[unit]
    _, factor_to, offset_to = UNITS[to]
    return (value * factor + offset - offset_to) / factor_to
