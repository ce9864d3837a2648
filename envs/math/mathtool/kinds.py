"""`Kind`: one kind of problem, and how it is drawn, asked, answered and solved by a program."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ludus.envs.math.mathtool.algebraic import NotExact
from ludus.envs.math.mathtool.reader import parse_exact, write_exact
from ludus.envs.math.mathtool.values import equal
from ludus.envs.math.numbers import parse_number

Field = int | str | list[int] | list[list[int]]
FORMS: Mapping[str, str] = {
    "integer": "an integer",
    "fraction": "an integer or a fraction in lowest terms",
    "exact": "an exact expression such as 3*sqrt(2)/4 or pi^2 - e",
}
"""The forms of answers, as named in the question."""


class Problem(NamedTuple):
    """One drawn problem."""

    fields: dict[str, Field]
    """The values of the wording's placeholders."""
    answer: int | Fraction | str
    """The exact answer; a `str` is a closed form that `parse_exact` reads."""


@dataclass(frozen=True)
class Kind:
    """A kind of problem."""

    name: str
    wording: str
    """The question; `{n}` stands for the field `n`."""
    draw: Callable[[np.random.Generator], Problem]
    """Draws a problem and computes its exact answer. Exactly one answer is right."""
    program: str
    """Prints the answer, found differently from `draw` where possible; the fields and sympy are defined."""
    form: str = "integer"
    """One of `FORMS`. Integers and fractions must be written out: `2^89 - 1` would only repeat the
    question."""
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = re.split(r"\{(\w+)\}", self.wording)
        parts[::2] = map(re.escape, parts[::2])
        parts[1::2] = [f"(?P<{name}>.+?)" for name in parts[1::2]]
        object.__setattr__(self, "pattern", re.compile("".join(parts) + r"\Z"))

    def question(self, problem: Problem) -> str:
        return self.wording.format(**problem.fields)

    def key(self, problem: Problem) -> str:
        """The content key: the kind and its fields, with no spaces."""
        fields = ",".join(f"{name}={value}" for name, value in problem.fields.items())
        return f"{self.name}:{fields.replace(' ', '')}"

    def read(self, text: str) -> Any:
        """The value of an answer of this form.

        Raises:
            NotExact: the text is not such an answer; the message says why.
        """
        if self.form == "exact":
            return parse_exact(text)
        number = parse_number(text)
        if number is None:
            raise NotExact(f"{text.strip()[:40]!r} is not {FORMS[self.form]}")
        return number

    def write(self, answer: str) -> str:
        """An answer as people read it."""
        return write_exact(answer) if self.form == "exact" else answer

    def same(self, expected: str, given: Any) -> bool:
        """Whether a value that was read equals the answer, given as text.

        Raises:
            NotExact: the value is too involved to tell.
        """
        value = self.read(expected)
        return equal(value, given) if self.form == "exact" else bool(value == given)


def digits(rng: np.random.Generator, count: int) -> int:
    """A number with exactly this many digits, at most 70."""
    bits = 0
    for _ in range(4):
        bits = bits << 64 | int(rng.bit_generator.random_raw())
    least = 10 ** (count - 1)
    return least + bits % (9 * least)


def integer(rng: np.random.Generator, low: int, high: int) -> int:
    """An integer from low to high, inclusive."""
    return int(rng.integers(low, high + 1))


def nonzero(rng: np.random.Generator, size: int) -> int:
    """A nonzero integer from -size to size."""
    value = integer(rng, 1, size)
    return value if rng.integers(2) else -value


def integers(rng: np.random.Generator, low: int, high: int, count: int) -> list[int]:
    return [int(value) for value in rng.integers(low, high + 1, size=count)]


def chosen(rng: np.random.Generator, items: list[int], count: int) -> list[int]:
    """Distinct items, in ascending order."""
    return sorted(int(item) for item in rng.choice(items, size=count, replace=False))


def polynomial(coefficients: list[int]) -> str:
    """`3*x^2 - x + 7` for [7, -1, 3]."""
    terms = []
    for power, coefficient in reversed([*enumerate(coefficients)]):
        if coefficient:
            variable = ("", "x")[power] if power < 2 else f"x^{power}"
            size = "" if abs(coefficient) == 1 and variable else str(abs(coefficient))
            terms.append(("- " if coefficient < 0 else "+ ") + "*".join(filter(None, (size, variable))))
    text = " ".join(terms).removeprefix("+ ")
    return ("-" + text[2:] if text.startswith("- ") else text) or "0"


def coefficients(rng: np.random.Generator, degree: int, size: int) -> list[int]:
    """Coefficients from -size to size, lowest power first; the leading one is not 0."""
    return [*integers(rng, -size, size, degree), nonzero(rng, size)]
