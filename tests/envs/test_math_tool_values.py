"""Closed forms: the normal form decides equality, and no text takes long."""

import contextlib
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.math.mathtool.values import MAX_CHARACTERS, NotExact, equal, parse_exact, write_exact

fractions = st.fractions(min_value=-50, max_value=50, max_denominator=30)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sqrt(8)", "2*sqrt(2)"),
        ("1/sqrt(2)", "sqrt(2)/2"),
        ("sqrt(2)*sqrt(6)", "2*sqrt(3)"),
        ("(1+sqrt(5))^2/4", "(3+sqrt(5))/2"),
        ("pi**2/6", "pi*pi/6"),
        ("exp(1/2)*e^(1/2)", "E"),
        ("-2^2", "-4"),
        ("2^-1", "1/2"),
        ("2^3^2", "512"),
        ("sqrt(80018)*sqrt(120027)", "40009*sqrt(6)"),
        (" 14 / 4 ", "7/2"),
    ],
)
def test_equal(one: str, other: str) -> None:
    assert equal(parse_exact(one), parse_exact(other))


@given(fractions, fractions, st.integers(0, 400), st.integers(0, 400))
def test_a_value_is_what_its_number_is(a: Fraction, b: Fraction, m: int, n: int) -> None:
    one = parse_exact(f"({a})*sqrt({m})*pi + ({b})*sqrt({n})*e")
    assert equal(one, parse_exact(write_exact(one)))
    product = parse_exact(f"({a})*sqrt({m}) * (({b})*sqrt({n}))")
    assert equal(product, parse_exact(f"({a * b})*sqrt({m * n})"))
    other = parse_exact(f"({a})*sqrt({m + 1}) * (({b})*sqrt({n}))")
    assert equal(product, other) == (a * b * n == 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing"),
        ("2pi", "operator"),
        ("1 2", "operator"),
        ("sqrt 2", "needs brackets"),
        ("(1", "not closed"),
        ("nan", "not understood"),
        ("__import__('os')", "not understood"),
        ("٣", "not understood"),
        ("1/0", "divides by 0"),
        ("0^-1", "divides by 0"),
        ("1/(1+sqrt(2))", "divides by a sum"),
        ("sqrt(-1)", "not negative"),
        ("sqrt(pi)", "not negative"),
        ("sqrt(10^30)", "too large"),
        ("2^(1/2)", "exponent"),
        ("pi^pi", "exponent"),
        ("9^9^9^9", "too large"),
        ("e^(10^9)", "exponent of e"),
        ("((1+pi)^4)^4", "terms"),
        ("1" + "+1" * 200, "longer"),
        ("(" * 100 + "1" + ")" * 100, "deeply"),
        ("1" + "^1" * 100, "deeply"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(NotExact, match=words):
        parse_exact(text)


@given(st.text("0123456789()+-*/^ piesqrtxE.", max_size=MAX_CHARACTERS))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    begun = time.perf_counter()
    with contextlib.suppress(NotExact):
        parse_exact(text)
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    "text",
    [
        "*".join(["(1+pi+e+sqrt(2))^1"] * 15),
        "+".join(["(1+sqrt(2)+sqrt(3)+sqrt(6))^4"] * 9),
        "(sqrt(999999937)*sqrt(999999929))^4*(sqrt(99999787)*sqrt(99999773))^4",
        "^".join(["9"] * 19),
        "*".join(["2^511"] * 40),
        "-" * 299 + "1",
    ],
)
def test_the_slowest_texts_are_fast(text: str) -> None:
    begun = time.perf_counter()
    with contextlib.suppress(NotExact):
        parse_exact(text)
    assert time.perf_counter() - begun < 0.5
