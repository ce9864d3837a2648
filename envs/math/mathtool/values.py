"""Exact values in closed form, read from hostile text: `3*sqrt(2)/4 + pi^2 - e`.

The grammar is small and everything is bounded, so no text takes long, whatever it says:

    sum     = product {("+" | "-") product}
    product = signed {("*" | "/") signed}
    signed  = {"-" | "+"} power
    power   = atom [("^" | "**") signed]
    atom    = integer | "pi" | "e" | "sqrt(" sum ")" | "exp(" sum ")" | "(" sum ")"

A square root is one of a rational number, an exponent is an integer (of `e`: a rational number), and a
divisor has one term. So a value is always a sum of terms `rational * sqrt(squarefree integer) * pi^k * e^q`,
which sympy keeps in one normal form: two texts are equal exactly where their normal forms are.
"""

import re
from typing import Any

import sympy

MAX_CHARACTERS = 300
_MAX_DEPTH = 20
_MAX_TERMS = 8
_MAX_BITS = 1_024
"""Of numerators and denominators."""
_MAX_EXPONENT = 64
_MAX_SUM_EXPONENT = 4
# Below this, sympy takes every square out of a root: it looks for prime factors up to 2**15.
_MAX_RADICAND = 10**9

_TOKEN = re.compile(r"\s*([0-9]+|\*\*|[-+*/^()]|sqrt|exp|pi|e|E)")

Exact = Any
"""A sympy number in normal form."""


class NotExact(ValueError):
    """A text is no value in closed form; the message says what is wrong with it, for whoever wrote it."""


def parse_exact(text: str) -> Exact:
    """The value that a text is.

    Raises:
        NotExact: it is none by the grammar, or it is longer, deeper or larger than any answer.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotExact(f"it is longer than {MAX_CHARACTERS} characters")
    return _Reader(_tokens(text)).whole()


def equal(one: Exact, other: Exact) -> bool:
    """Whether two values of `parse_exact` are the same number."""
    return bool(sympy.expand(one - other) == 0)


def write_exact(value: Exact) -> str:
    """A value as `parse_exact` reads it."""
    return str(value).replace("**", "^")


def _tokens(text: str) -> list[str]:
    found, position, text = [], 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotExact(f"{text[position : position + 12].strip()!r} is not understood")
        found.append(match[1])
        position = match.end()
    return found


class _Reader:
    """Recursive descent over the tokens of one text."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = [*tokens, ""]
        self.position = 0
        self.depth = 0

    def whole(self) -> Exact:
        value = self.sum()
        if self.tokens[self.position]:
            raise NotExact(f"{self.tokens[self.position]!r} stands where an operator should")
        return value

    def take(self, *wanted: str) -> str:
        """The next token if it is one of those wanted, else the empty text."""
        token = self.tokens[self.position]
        if not token or token not in wanted:
            return ""
        self.position += 1
        return token

    def sum(self) -> Exact:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise NotExact("it is nested too deeply")
        value = self.product()
        while operator := self.take("+", "-"):
            right = self.product()
            value = _bounded(value + right if operator == "+" else value - right)
        self.depth -= 1
        return value

    def product(self) -> Exact:
        value = self.signed()
        while operator := self.take("*", "/"):
            right = self.signed()
            value = _multiplied(value, right if operator == "*" else _inverse(right))
        return value

    def signed(self) -> Exact:
        negative = False
        while sign := self.take("-", "+"):
            negative ^= sign == "-"
        value = self.power()
        return -value if negative else value

    def power(self) -> Exact:
        base = self.atom()
        if not self.take("^", "**"):
            return base
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise NotExact("it is nested too deeply")
        exponent = self.signed()
        self.depth -= 1
        return _exp(exponent) if base == sympy.E else _power(base, exponent)

    def atom(self) -> Exact:
        token = self.tokens[self.position]
        self.position += bool(token)
        match token:
            case "pi":
                return sympy.pi
            case "e" | "E":
                return sympy.E
            case "(":
                return self.bracketed()
            case "sqrt" | "exp":
                if not self.take("("):
                    raise NotExact(f"{token} needs brackets: {token}(2)")
                argument = self.bracketed()
                return _root(argument) if token == "sqrt" else _exp(argument)
        if not token.isdigit():
            raise NotExact(f"a number is missing before {token!r}" if token else "a number is missing")
        return _bounded(sympy.Integer(int(token)))

    def bracketed(self) -> Exact:
        value = self.sum()
        if not self.take(")"):
            raise NotExact("a bracket is not closed")
        return value


def _bounded(value: Exact) -> Exact:
    terms = sympy.Add.make_args(value)
    if len(terms) > _MAX_TERMS:
        raise NotExact(f"it has more than {_MAX_TERMS} terms")
    for term in terms:
        coefficient = term.as_coeff_Mul()[0]
        if max(int(coefficient.p).bit_length(), int(coefficient.q).bit_length()) > _MAX_BITS:
            raise NotExact("its numbers are too large")
    return value


def _multiplied(one: Exact, other: Exact) -> Exact:
    return _bounded(sympy.expand(one * other))


def _inverse(value: Exact) -> Exact:
    if value == 0:
        raise NotExact("it divides by 0")
    if value.is_Add:
        raise NotExact("it divides by a sum: take the roots out of the denominator")
    return 1 / value


def _power(base: Exact, exponent: Exact) -> Exact:
    if not exponent.is_Integer:
        raise NotExact("an exponent must be an integer; write roots as sqrt(n)")
    times = int(exponent)
    if base.is_Add:
        if not 0 <= times <= _MAX_SUM_EXPONENT:
            raise NotExact(f"powers of sums go from 0 to {_MAX_SUM_EXPONENT}")
        value = sympy.Integer(1)
        for _ in range(times):
            value = _multiplied(value, base)
        return value
    coefficient = base.as_coeff_Mul()[0]
    bits = max(int(coefficient.p).bit_length(), int(coefficient.q).bit_length())
    if (bits > 1 and abs(times) * bits > 2 * _MAX_BITS) or abs(times) > 8 * _MAX_EXPONENT:
        raise NotExact("its powers are too large")
    return _bounded(_inverse(base) ** -times if times < 0 else base**times)


def _exp(exponent: Exact) -> Exact:
    if not exponent.is_Rational or max(abs(exponent.p), exponent.q) > _MAX_EXPONENT:
        raise NotExact(f"an exponent of e must be a fraction of integers up to {_MAX_EXPONENT}")
    return sympy.exp(exponent)


def _root(value: Exact) -> Exact:
    if not value.is_Rational or value < 0:
        raise NotExact("a square root must be one of a number that is not negative")
    if value.p * value.q > _MAX_RADICAND:
        raise NotExact("a number under a square root is too large")
    return sympy.sqrt(value)
