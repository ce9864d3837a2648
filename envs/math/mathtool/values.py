"""Exact values of closed forms: quotients of sums of `a * pi^k * e^q`, with algebraic numbers `a`.

They are compared exactly, on the assumption that pi and e are algebraically independent (widely believed, but
unproved).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from ludus.envs.math.mathtool.algebraic import Algebraic, NotExact

MAX_TERMS = 16
MAX_EXPONENT = 512
"""The largest numerator or denominator of an exponent of pi or e."""

Powers = tuple[Fraction, Fraction]
"""The exponents of pi and of e."""
Sum = Mapping[Powers, Algebraic]
_NONE: Powers = (Fraction(0), Fraction(0))
_ONE: Sum = {_NONE: Algebraic.rational(1)}


@dataclass(frozen=True, eq=False)
class Exact:
    """A value. Operations raise `NotExact` if the result does not exist or is too large."""

    dividend: Sum
    divisor: Sum

    @classmethod
    def rational(cls, value: Fraction | int) -> Self:
        return cls({_NONE: Algebraic.rational(value)}, _ONE)

    @classmethod
    def powers(cls, pi: Fraction | int, e: Fraction | int) -> Self:
        """pi^`pi` * e^`e`."""
        return cls({(Fraction(pi), Fraction(e)): Algebraic.rational(1)}, _ONE)

    def __add__(self, other: "Exact") -> "Exact":
        if self.divisor is other.divisor:
            return Exact(_added(self.dividend, other.dividend), self.divisor)
        dividend = _added(
            _multiplied(self.dividend, other.divisor), _multiplied(other.dividend, self.divisor)
        )
        return Exact(dividend, _multiplied(self.divisor, other.divisor))

    def __neg__(self) -> "Exact":
        return Exact({powers: -number for powers, number in self.dividend.items()}, self.divisor)

    def __sub__(self, other: "Exact") -> "Exact":
        return self + -other

    def __mul__(self, other: "Exact") -> "Exact":
        return Exact(_multiplied(self.dividend, other.dividend), _multiplied(self.divisor, other.divisor))

    def __truediv__(self, other: "Exact") -> "Exact":
        dividend = _without_zeros(other.dividend)
        if not dividend:
            raise NotExact("it divides by 0")
        if len(dividend) > 1:
            return self * Exact(other.divisor, dividend)
        # A single term goes into the dividend, so that plain numbers keep the divisor 1.
        (((pi, e), number),) = dividend.items()
        return self * Exact(_multiplied({(-pi, -e): number.inverse()}, other.divisor), _ONE)

    def __pow__(self, exponent: "Exact") -> "Exact":
        power = exponent.as_rational(MAX_EXPONENT)
        if power is None:
            raise NotExact(f"an exponent must be a fraction of integers up to {MAX_EXPONENT}")
        if power.denominator == 1:
            return self._to_the(int(power))
        dividend, divisor = _without_zeros(self.dividend), _without_zeros(self.divisor)
        if not dividend:
            if power < 0:
                raise NotExact("it divides by 0")
            return Exact.rational(0)
        if len(dividend) > 1 or len(divisor) > 1:
            raise NotExact("there is a root of a sum with pi or e: write it as one without")
        (((pi, e), number),), (((under_pi, under_e), under),) = dividend.items(), divisor.items()
        radicand = number * under.inverse()
        value = radicand.power(abs(power.numerator)).root(power.denominator)
        powers = _bounded(((pi - under_pi) * power, (e - under_e) * power))
        return Exact({powers: value.inverse() if power < 0 else value}, _ONE)

    def _to_the(self, times: int) -> "Exact":
        if times < 0:
            return (Exact.rational(1) / self)._to_the(-times)
        if times == 0:
            return Exact.rational(1)
        if max(len(self.dividend), len(self.divisor)) == 1:
            dividend, divisor = (
                {_bounded((pi * times, e * times)): number.power(times) for (pi, e), number in part.items()}
                for part in (self.dividend, self.divisor)
            )
            return Exact(dividend, _ONE if self.divisor is _ONE else divisor)
        if times > MAX_TERMS:
            raise NotExact("its powers are too large")
        value = Exact.rational(1)
        for _ in range(times):
            value = value * self
        return value

    def as_rational(self, largest: int) -> Fraction | None:
        """The fraction of integers up to `largest` that this equals, or None."""
        dividend, divisor = _without_zeros(self.dividend), _without_zeros(self.divisor)
        if not dividend:
            return Fraction(0)
        # If it is a fraction, it is also the quotient of any two terms with the same powers.
        powers = next(iter(divisor))
        if powers not in dividend:
            return None
        near = (dividend[powers] * divisor[powers].inverse()).nearest_rational(largest)
        if near is None or abs(near.numerator) > largest or not equal(self, Exact.rational(near)):
            return None
        return near


def equal(first: Exact, second: Exact) -> bool:
    """Whether two values are the same number.

    Raises:
        NotExact: it cannot be decided.
    """
    return not _without_zeros((first - second).dividend)


def _added(first: Sum, second: Sum) -> Sum:
    total = dict(first)
    for powers, number in second.items():
        total[powers] = total[powers] + number if powers in total else number
    return _sized({powers: number for powers, number in total.items() if not number.is_zero_rational})


def _multiplied(first: Sum, second: Sum) -> Sum:
    if first is _ONE or second is _ONE:
        return second if first is _ONE else first
    total: dict[Powers, Algebraic] = {}
    for (pi, e), number in first.items():
        for (other_pi, other_e), other in second.items():
            powers, product = _bounded((pi + other_pi, e + other_e)), number * other
            total[powers] = total[powers] + product if powers in total else product
    return _sized(total)


def _without_zeros(terms: Sum) -> Sum:
    return {powers: number for powers, number in terms.items() if number.sign}


def _sized(terms: Sum) -> Sum:
    if len(terms) > MAX_TERMS:
        raise NotExact(f"it has more than {MAX_TERMS} terms")
    return terms


def _bounded(powers: Powers) -> Powers:
    if any(max(abs(power.numerator), power.denominator) > MAX_EXPONENT for power in powers):
        raise NotExact("its powers are too large")
    return powers
