"""Writes clean values as people and devices do: the same value in many ways."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from random import Random

MISSING = ("", "NA", "n/a", "?")
"""Spellings of an unknown value."""
OFFSETS = (0, 120, -300, 330, 540)
"""UTC offsets, in minutes, of the clocks that write time stamps."""


class Dirt:
    """Writes values untidily, but in ways that the data dictionary tells how to read back exactly."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def missing(self) -> str:
        return self.rng.choice(MISSING)

    def label(self, text: str) -> str:
        """A name or an id, in random case and with stray whitespace."""
        draw = self.rng.random()
        if draw < 0.15:
            text = text.upper()
        elif draw < 0.3:
            text = text.lower()
        return self.padded(text)

    def padded(self, text: str) -> str:
        draw = self.rng.random()
        if draw < 0.1:
            return f" {text}"
        return f"{text}  " if draw < 0.2 else text

    def decimal(self, number: int, places: int) -> str:
        """`number` / 10^`places`, with a decimal point or a decimal comma."""
        digits = f"{abs(number):0{places + 1}d}"
        sign = "-" if number < 0 else ""
        return f"{sign}{digits[:-places]}{self.rng.choice('.,')}{digits[-places:]}"

    def stamp(self, moment: datetime) -> str:
        """A time in UTC as ISO 8601 with the offset of the clock that wrote it, to the minute."""
        offset = self.rng.choice(OFFSETS)
        local = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=offset)))
        text = local.isoformat(sep=self.rng.choice("T "), timespec="minutes")
        return text.replace("+00:00", "Z") if self.chance(0.5) else text

    def day(self, day: date) -> str:
        """A date as 2024-01-31 or as 31.01.2024."""
        return self.padded(day.isoformat() if self.chance(0.6) else day.strftime("%d.%m.%Y"))

    def money(self, cents: int) -> str:
        """Euros, or cents with the unit `ct`."""
        return self.padded(f"{cents} ct" if self.chance(0.25) else self.decimal(cents, 2))

    def shuffled(self, items: Sequence[str]) -> list[str]:
        return self.rng.sample(items, len(items))
