"""Real algebraic numbers with exact signs.

A number is kept as an expression of rational numbers, `+ - * /` and roots. It is computed in fixed-point
intervals of increasing precision. If the interval still contains 0, a separation bound decides (Burnikel,
Fleischer, Mehlhorn and Schirra, "A separation bound for real algebraic expressions", 2001). Every expression
is a quotient of two algebraic integers, in a field whose degree is at most the product D of the degrees of
its roots. If `numerator` and `denominator` bound all conjugates of the two, and the expression is not 0, then
the norm of the dividend is at least 1 in absolute value, and so the expression is at least `numerator**(1 -
D) / denominator`.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import isqrt, prod
from typing import Self

Interval = tuple[int, int]

MAX_BITS = 1_024
"""The largest numerator or denominator of a rational number."""
MAX_DEGREE = 128
"""The highest degree of an expression's field, bounded by the degrees of its roots."""
MAX_ROOT = 8
"""The highest degree of a root."""
MAX_PRECISION = 8_192
"""The most fractional bits used to find a sign."""


class NotExact(ValueError):
    """Something is not a value in closed form, or is too large or too involved to compute with; the message
    tells its author what is wrong."""


@dataclass(frozen=True, eq=False)
class Algebraic:
    """A real algebraic number."""

    operation: str
    """`rational`, `+`, `*`, `/` or `root`."""
    operands: tuple["Algebraic", ...] = ()
    value: Fraction = Fraction(0)
    """The value of a `rational`."""
    degree: int = 1
    """The degree of a `root`: 2 for a square root."""

    @classmethod
    def rational(cls, value: Fraction | int) -> Self:
        """
        Raises:
            NotExact: the number is too large.
        """
        value = Fraction(value)
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise NotExact("its numbers are too large")
        return cls("rational", value=value)

    def __add__(self, other: "Algebraic") -> "Algebraic":
        if self.is_rational and other.is_rational:
            return Algebraic.rational(self.value + other.value)
        return self if other.is_zero_rational else other if self.is_zero_rational else _made("+", self, other)

    def __neg__(self) -> "Algebraic":
        return Algebraic.rational(-1) * self

    def __sub__(self, other: "Algebraic") -> "Algebraic":
        return self + -other

    def __mul__(self, other: "Algebraic") -> "Algebraic":
        if self.is_rational and other.is_rational:
            return Algebraic.rational(self.value * other.value)
        if self.is_zero_rational or other.is_zero_rational:
            return Algebraic.rational(0)
        return _made("*", self, other)

    def inverse(self) -> "Algebraic":
        """
        Raises:
            ZeroDivisionError: the number is 0.
            NotExact: its sign cannot be decided.
        """
        if self.sign == 0:
            raise ZeroDivisionError
        if self.is_rational:
            return Algebraic.rational(1 / self.value)
        return _made("/", Algebraic.rational(1), self)

    def power(self, exponent: int) -> "Algebraic":
        """
        Raises:
            ZeroDivisionError: it is a negative power of 0.
            NotExact: the power is too large.
        """
        if exponent < 0:
            return self.inverse().power(-exponent)
        if self.is_rational:
            size = max(abs(self.value.numerator), self.value.denominator)
            # Checked before it is computed: 9^9^9^9 must not be.
            if size > 1 and exponent * (size.bit_length() - 1) > MAX_BITS:
                raise NotExact("its powers are too large")
            return Algebraic.rational(self.value**exponent)
        if exponent > MAX_BITS:
            raise NotExact("its powers are too large")
        result, square = Algebraic.rational(1), self
        while exponent:
            if exponent & 1:
                result = result * square
            exponent >>= 1
            if exponent:
                square = square * square
        return result

    def root(self, degree: int) -> "Algebraic":
        """The non-negative root.

        Raises:
            NotExact: the number is negative, its sign cannot be decided, or the degree is too high.
        """
        if self.sign < 0:
            raise NotExact("a root must be one of a number that is not negative")
        if degree > MAX_ROOT:
            raise NotExact(f"roots go up to the {MAX_ROOT}th")
        if degree == 1 or self.sign == 0:
            return self if self.sign else Algebraic.rational(0)
        if not self.is_rational:
            return _made("root", self, degree=degree)
        # The radicand as an integer without the factors that come out of the root: equal roots are then one.
        top, bottom = self.value.numerator, self.value.denominator
        outside, inside = _taken_out(top * bottom ** (degree - 1), degree)
        factor = Algebraic.rational(Fraction(outside, bottom))
        return factor if inside == 1 else factor * _made("root", Algebraic.rational(inside), degree=degree)

    @property
    def is_rational(self) -> bool:
        """Whether the expression is simply a rational number."""
        return self.operation == "rational"

    @property
    def is_zero_rational(self) -> bool:
        return self.is_rational and self.value == 0

    def nearest_rational(self, largest_denominator: int) -> Fraction | None:
        """The rational number that this equals, or None if there is none with so small a denominator."""
        if self.is_rational:
            return self.value if self.value.denominator <= largest_denominator else None
        interval = self._interval_at(MAX_BITS)
        if interval is None:
            return None
        low, high = interval
        near = Fraction(low + high, 2 << MAX_BITS).limit_denominator(largest_denominator)
        return near if (self - Algebraic.rational(near)).sign == 0 else None

    @cached_property
    def sign(self) -> int:
        """-1, 0 or 1.

        Raises:
            NotExact: more than `MAX_PRECISION` bits would be needed.
        """
        if self.is_rational:
            return (self.value > 0) - (self.value < 0)
        precision = 64
        while precision <= MAX_PRECISION:
            low, high = self._interval_at(precision) or (-1, 1)
            if low > 0 or high < 0:
                return 1 if low > 0 else -1
            # The interval is smaller than any nonzero value that this expression can have.
            if precision - max(-low, high).bit_length() > self._separation:
                return 0
            precision *= 2
        raise NotExact("it is too involved: simplify it")

    @cached_property
    def _bits(self) -> tuple[int, int]:
        """Upper bounds on the base-2 logarithms of `numerator` and `denominator`."""
        if self.is_rational:
            return abs(self.value.numerator).bit_length(), self.value.denominator.bit_length()
        pairs = [operand._bits for operand in self.operands]
        (top, bottom), (other_top, other_bottom) = pairs[0], pairs[-1]
        match self.operation:
            case "+":
                return max(top + other_bottom, other_top + bottom) + 1, bottom + other_bottom
            case "*":
                return top + other_top, bottom + other_bottom
            case "/":
                return top + other_bottom, bottom + other_top
        # The n-th root of a/b is the n-th root of a*b^(n-1), over b.
        return -(-(top + (self.degree - 1) * bottom) // self.degree), bottom

    @cached_property
    def _roots(self) -> dict[tuple[int, object], int]:
        """The degrees of the distinct roots in the expression; equal rational radicands count once."""
        found: dict[tuple[int, object], int] = {}
        for operand in self.operands:
            found |= operand._roots
        if self.operation == "root":
            radicand = self.operands[0]
            key = (self.degree, radicand.value if radicand.is_rational else id(radicand))
            found[key] = self.degree
        return found

    @cached_property
    def _separation(self) -> int:
        """The fractional bits of the smallest absolute value that the expression can have, unless it is 0.

        Raises:
            NotExact: it has too many roots.
        """
        degree = prod(self._roots.values())
        if degree > MAX_DEGREE:
            raise NotExact("it has too many different roots")
        top, bottom = self._bits
        return (degree - 1) * top + bottom

    def _interval_at(self, precision: int) -> tuple[int, int] | None:
        """Integers below and above `2**precision` times the number; None while a divisor may still be 0."""
        return self._bounded(precision, {})

    def _bounded(self, precision: int, known: dict[int, Interval | None]) -> Interval | None:
        if id(self) not in known:
            known[id(self)] = self._computed(precision, known)
        return known[id(self)]

    def _computed(self, precision: int, known: dict[int, Interval | None]) -> Interval | None:
        if self.is_rational:
            scaled, rest = divmod(self.value.numerator << precision, self.value.denominator)
            return scaled, scaled + bool(rest)
        intervals = [operand._bounded(precision, known) for operand in self.operands]
        if intervals[0] is None or intervals[-1] is None:
            return None
        (low, high), (other_low, other_high) = intervals[0], intervals[-1]
        match self.operation:
            case "+":
                return low + other_low, high + other_high
            case "*":
                ends = low * other_low, low * other_high, high * other_low, high * other_high
                return min(ends) >> precision, -(-max(ends) >> precision)
            case "/":  # its dividend is 1
                if other_low <= 0 <= other_high:
                    return None
                one = 1 << 2 * precision
                return one // other_high, -(-one // other_low)
        shift = precision * (self.degree - 1)
        low, high = max(low, 0) << shift, max(high, 0) << shift
        return integer_root(low, self.degree), integer_root(high, self.degree) + 1


def integer_root(number: int, degree: int) -> int:
    """The largest integer whose power does not exceed `number`, by Newton's method."""
    if degree == 2 or number < 2:
        return isqrt(number)
    guess = 1 << -(-number.bit_length() // degree)
    while True:
        nearer = ((degree - 1) * guess + number // guess ** (degree - 1)) // degree
        if nearer >= guess:
            return guess
        guess = nearer


def _made(operation: str, *operands: Algebraic, degree: int = 1) -> Algebraic:
    made = Algebraic(operation, operands, degree=degree)
    if max(made._bits) > MAX_PRECISION:
        raise NotExact("its numbers are too large")
    return made


def _taken_out(number: int, degree: int) -> tuple[int, int]:
    """The factor that comes out of a number's root, found with small primes only, and what stays inside."""
    if number.bit_length() > 2 * MAX_BITS:
        raise NotExact("a number under a root is too large")
    whole = integer_root(number, degree)
    if whole**degree == number:
        return whole, 1
    outside = 1
    for factor in (2, 3, 5, 7, 11, 13):
        while number % factor**degree == 0:
            number //= factor**degree
            outside *= factor
    return outside, number
