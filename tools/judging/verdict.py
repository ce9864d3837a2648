"""Forms of a judge's verdict: how it is asked for, constrained, and read.

A judge ends its answer with the object `{"verdict": …}`. The last one in an answer counts: a judge may quote
others, from what it judges, before it comes to its own.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from ludus.tools.errors import UserError

_VERDICT = re.compile(
    r'(?<!\\)"verdict"\s{0,9}:\s{0,9}("(?:[^"\\]|\\.){0,200}"|[-+.\w]{1,40})\s{0,9}\}', re.DOTALL
)


@dataclass(frozen=True)
class Scale:
    """A number.

    Raises:
        UserError: the ends are not two finite numbers in order.
    """

    low: float = 0.0
    high: float = 10.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UserError(
                f"a scale from {self.low:g} to {self.high:g} has no numbers to judge by: give two finite "
                "numbers, the lower one first"
            )

    @property
    def asked(self) -> str:
        """How a judge is asked for it."""
        return f"a number from {self.low:g} to {self.high:g}"

    @property
    def example(self) -> str:
        """A verdict as JSON; the worst, so that a judge which copies it favours nobody."""
        return f"{self.low:g}"

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the verdict's value."""
        return {"type": "number", "minimum": self.low, "maximum": self.high}

    def read(self, answer: str) -> float | None:
        """The last verdict in an answer; None: there is none, or it is no number on the scale."""
        value = last_verdict(answer)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if self.low <= value <= self.high else None

    def share(self, score: float) -> float:
        """From 0, the scale's lower end, to 1, the upper."""
        return (score - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Labels:
    """One of several names.

    Raises:
        UserError: there are fewer than two, or two are the same.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) < max(2, len(self.names)):
            raise UserError(
                f"the labels of a judge, {list(self.names)}, should be two or more, all different"
            )

    @property
    def asked(self) -> str:
        """How a judge is asked for it."""
        return "one of " + ", ".join(json.dumps(name, ensure_ascii=False) for name in self.names)

    @property
    def example(self) -> str:
        """A verdict as JSON."""
        return json.dumps(self.names[-1], ensure_ascii=False)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the verdict's value."""
        return {"type": "string", "enum": list(self.names)}

    def read(self, answer: str) -> str | None:
        """The last verdict in an answer; None: there is none, or it is none of the labels."""
        value = last_verdict(answer)
        return value if isinstance(value, str) and value in self.names else None


Form = Scale | Labels

A, B, TIE = "A", "B", "tie"
PREFERENCE = Labels((A, B, TIE))
"""Which of two candidates is better."""


def agreed(first: str, swapped: str) -> str:
    """What two verdicts say together, of which the second was asked for with the candidates in the other
    order: the one that both prefer, or a tie. A judge that prefers a place prefers nobody."""
    return first if first != TIE and swapped == {A: B, B: A}[first] else TIE


def answer_schema(form: Form) -> dict[str, Any]:
    """The JSON schema of a whole answer, for engines that constrain it."""
    return {
        "type": "object",
        "properties": {"verdict": form.schema},
        "required": ["verdict"],
        "additionalProperties": False,
    }


def last_verdict(answer: str) -> Any:
    """The value of the last `{"verdict": …}` in an answer, whatever it is; None: there is none, or it is no
    JSON."""
    value = None
    for found in _VERDICT.finditer(answer):
        value = found[1]
    if value is None:
        return None
    try:
        return json.loads(value, parse_constant=lambda name: None)
    except ValueError:
        return None
