"""Right answers: a number with a unit, an hour, one of several names, or all of them in order."""

import math
import re
from dataclasses import dataclass
from datetime import datetime
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
"""Each unit's kind, and the factor and offset that convert a value to the kind's first unit."""
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
    """In the same unit."""

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
class Hour:
    """An hour of a day."""

    moment: datetime

    def is_met(self, value: str, unit: str) -> bool:
        found = re.fullmatch(r"(\d{4}-\d\d-\d\d)(?:T| |, )(\d\d):00(?::00)?", value.strip(), re.IGNORECASE)
        return found is not None and f"{found[1]}T{found[2]}:00" == str(self)

    def __str__(self) -> str:
        return self.moment.isoformat(timespec="minutes")


@dataclass(frozen=True, slots=True)
class Order:
    """Several names, each exactly once, in order."""

    names: tuple[str, ...]

    def is_met(self, value: str, unit: str) -> bool:
        said = folded(value[:400])
        places = [[found.start() for found in _named(name, said)] for name in self.names]
        return all(len(found) == 1 for found in places) and places == sorted(places)

    def __str__(self) -> str:
        return ", ".join(self.names)


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of several names."""

    right: str
    wrong: tuple[str, ...]

    def is_met(self, value: str, unit: str) -> bool:
        said = folded(value[:200])

        return bool(_named(self.right, said)) and not any(_named(name, said) for name in self.wrong)

    def __str__(self) -> str:
        return self.right


Goal: TypeAlias = Number | Hour | OneOf | Order


def _named(name: str, said: str) -> list[re.Match[str]]:
    """The positions of a name in a folded text."""
    return [*re.finditer(rf"(?<!\w){re.escape(folded(name))}(?!\w)", said)]


def read_unit(text: str) -> str | None:
    """The unit that a text means, in any spelling; None if it is not a unit."""
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
