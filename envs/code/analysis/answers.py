"""Answers: their types, how a program prints them, and when two are equal."""

import re
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Literal

Value = int | Fraction | str | date | tuple[str, ...]
"""The types of answers: integer, decimal, text, date, list."""

LONGEST = 1000
"""The most characters of an answer."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,30}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True)
class Form:
    """The type of an answer, and a decimal's tolerance."""

    kind: Literal["integer", "decimal", "text", "date", "list"]
    tolerance: Fraction = Fraction(0)

    @property
    def described(self) -> str:
        """The type, described for the agent."""
        match self.kind:
            case "integer":
                return "an integer, such as 42"
            case "decimal":
                return f"a decimal number, right within {float(self.tolerance)}"
            case "text":
                return "a text; upper and lower case do not matter"
            case "date":
                return "a date, as 2024-01-31"
            case "list":
                return "a list: its items on one line, with commas between them, in the order asked for"

    def read(self, printed: str) -> Value:
        """The single answer printed by a program.

        Raises:
            ValueError: it printed nothing, several lines, or something of another type.
        """
        text = printed.strip()
        if not text:
            raise ValueError("it printed nothing")
        lines = len(text.splitlines())
        if lines > 1:
            raise ValueError(f"it printed {lines} lines; print the answer and nothing else")
        if len(text) > LONGEST:
            raise ValueError(f"it printed {len(text)} characters; an answer has at most {LONGEST}")
        try:
            return self._value(text)
        except ValueError:
            raise ValueError(f"it printed {text[:100]!r}; the answer is {self.described}") from None

    def _value(self, text: str) -> Value:
        match self.kind:
            case "integer" if _INTEGER.fullmatch(text):
                return int(text)
            case "decimal" if _DECIMAL.fullmatch(text):
                return Fraction(text)
            case "date" if _DATE.fullmatch(text):
                return date.fromisoformat(text)
            case "text":
                return folded(text)
            case "list":
                return tuple(folded(item) for item in text.split(","))
        raise ValueError

    def same(self, given: Value, expected: Value) -> bool:
        """Whether an answer, as returned by `read`, equals the expected one; both may also be references."""
        if self.kind == "decimal":
            assert isinstance(given, Fraction)
            assert isinstance(expected, Fraction | int)
            return abs(given - expected) <= self.tolerance
        return _comparable(given) == _comparable(expected)


def folded(text: str) -> str:
    """A text without the differences that do not matter: case and extra whitespace."""
    return " ".join(text.split()).casefold()


def _comparable(value: Value) -> Value:
    if isinstance(value, tuple):
        return tuple(folded(item) for item in value)
    return folded(value) if isinstance(value, str) else value


def written(value: Value) -> str:
    """An answer as a program should print it, with decimals to six places."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{float(value):.6f}" if isinstance(value, Fraction) else str(value)
