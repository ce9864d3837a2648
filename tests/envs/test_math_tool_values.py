"""Closed forms: the normal form decides equality, and no text takes long."""

import contextlib
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.math.mathtool.algebraic import NotExact
from ludus.envs.math.mathtool.reader import MAX_CHARACTERS, parse_exact, write_exact
from ludus.envs.math.mathtool.values import equal

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
        ("2^(1/2)", "sqrt(2)"),
        ("2**0.5", "sqrt(2)"),
        ("8^(2/3)", "4"),
        ("1/(1+sqrt(2))", "sqrt(2)-1"),
        ("1/(sqrt(2)+sqrt(3)+sqrt(5))", "(2*sqrt(3)+3*sqrt(2)-sqrt(30))/12"),
        ("sqrt(3-2*sqrt(2))", "sqrt(2)-1"),
        ("sqrt(5+2*sqrt(6))", "sqrt(2)+sqrt(3)"),
        ("sqrt(2+sqrt(3))", "(sqrt(6)+sqrt(2))/2"),
        ("(2+sqrt(5))^(1/3)", "(1+sqrt(5))/2"),
        ("2^(1/3)*4^(1/3)", "2"),
        ("sqrt(pi^2)", "pi"),
        ("pi/(1+pi)", "1-1/(1+pi)"),
        ("(1+pi)^2/(1+pi)", "1+pi"),
        ("e^(sqrt(2)*sqrt(2))", "e^2"),
        ("sqrt(2)^sqrt(4)", "2"),
        ("1.5*pi", "3*pi/2"),
        (".5pi", "pi/2"),
        ("π", "pi"),
        ("2pi", "2*pi"),
        ("2π²", "2*pi^2"),
        ("π⁻¹", "1/pi"),
        ("√2", "sqrt(2)"),
        ("3√2/4", "sqrt(18)/4"),
        ("√(2)π", "pi*sqrt(2)"),
        ("2(3+√2)", "6+2√2"),
        ("(1+sqrt(2))(1-sqrt(2))", "-1"),
        ("π − √2", "pi-sqrt(2)"),
        ("3·π÷4", "3*pi/4"),
        (r"\frac{\sqrt{2}}{2}", "1/sqrt(2)"),
        (r"\frac{1}{2}\pi", "pi/2"),
        (r"3 \cdot \pi^{2}", "3*pi^2"),
        (r"\left(1+e\right)^{2}", "1+2e+e^2"),
        (r"$\boxed{\dfrac{3\pi}{2}}$", "1.5pi"),
        ("1,234", "1234"),
        ("2 1/2", "5/2"),
        ("0^0", "1"),
        ("0^(1/2)", "0"),
    ],
)
def test_equal(one: str, other: str) -> None:
    assert equal(parse_exact(one), parse_exact(other))


@given(fractions, fractions, st.integers(0, 400), st.integers(0, 400))
def test_a_value_is_what_its_number_is(a: Fraction, b: Fraction, m: int, n: int) -> None:
    text = f"({a})*sqrt({m})*pi + ({b})*sqrt({n})*e"
    assert equal(parse_exact(text), parse_exact(write_exact(text)))
    product = parse_exact(f"({a})*sqrt({m}) * (({b})*sqrt({n}))")
    assert equal(product, parse_exact(f"({a * b})*sqrt({m * n})"))
    other = parse_exact(f"({a})*sqrt({m + 1}) * (({b})*sqrt({n}))")
    assert equal(product, other) == (a * b * n == 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing"),
        ("1 2", "operator"),
        ("sqrt 2", "needs brackets"),
        ("(1", "not closed"),
        ("nan", "not understood"),
        ("__import__('os')", "not understood"),
        ("٣", "not understood"),
        ("1/0", "divides by 0"),
        ("0^-1", "divides by 0"),
        ("sqrt(-1)", "not negative"),
        ("pi^pi", "exponent"),
        ("9^9^9^9", "an exponent must be"),
        ("9^512", "too large"),
        ("e^(10^9)", "an exponent must be"),
        ("((1+pi)^4)^4", "terms"),
        ("sqrt(1+pi)", "root of a sum with pi or e"),
        ("sqrt(1-sqrt(2))", "not negative"),
        ("(-8)^(1/3)", "not negative"),
        ("2^(1/9)", "8th"),
        ("1/(sqrt(2)+sqrt(3)-sqrt(5+2*sqrt(6)))", "divides by 0"),
        ("0^(-1/2)", "divides by 0"),
        ("(1+sqrt(2))^512^2", "an exponent must be"),
        ("((2+sqrt(3))^99)^99", "too large"),
        ("1/2pi", "two ways"),
        ("√2π", "two ways"),
        ("pi2", "operator"),
        ("2pi3", "operator"),
        ("5 or 6", "not understood"),
        ("pi, e", "not understood"),
        ("1..2", "operator"),
        ("1" + "+1" * 200, "longer"),
        ("(" * 100 + "1" + ")" * 100, "deeply"),
        ("1" + "^1" * 100, "deeply"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(NotExact, match=words):
        parse_exact(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pi", "22/7"),
        ("pi", "3.14159265358979323846264338327950288"),
        ("sqrt(2)", "1.41421356237309504880168872420969807856967187537694"),
        ("sqrt(2)", "sqrt(2)+1/10^290"),
        ("sqrt(2)+sqrt(3)", "sqrt(5+2*sqrt(6))+10^-200"),
        ("2pi", "pi^2"),
        ("sqrt(10)", "pi"),
        # Equal to 20 digits or more (coincidences of Ramanujan's kind).
        (
            "sqrt(1000001025)+sqrt(1000031074)+sqrt(1000089)",
            "sqrt(1000001024)+sqrt(1000031075)+sqrt(1000089)",
        ),
    ],
)
def test_different(one: str, other: str) -> None:
    assert not equal(parse_exact(one), parse_exact(other))


@st.composite
def _surds(draw: st.DrawFn) -> tuple[str, str]:
    """`(p + q sqrt(n))` and `(r + s sqrt(m))`, as texts."""
    numbers = st.integers(-20, 20)
    return tuple(  # type: ignore[return-value]
        f"(({draw(numbers)})+({draw(numbers)})*sqrt({draw(st.integers(2, 60))}))" for _ in range(2)
    )


@given(_surds(), st.sampled_from(["pi", "e", "1", "sqrt(7)"]))
def test_equivalent_forms_are_equal(texts: tuple[str, str], factor: str) -> None:
    a, b = texts
    value = parse_exact(f"{a}*{b}*{factor}")
    for text in (f"{b}*{factor}*{a}", f"{factor}/(1/({a}{b}))" if not _is_zero(f"{a}{b}") else f"0*{b}"):
        assert equal(value, parse_exact(text))
    square = parse_exact(f"sqrt(({a}+{b})^2)")
    assert equal(square, parse_exact(f"{a}+{b}")) or equal(square, parse_exact(f"-{a}-{b}"))
    for text in (f"{a}*{b}*{factor}+1/10^60", f"{a}*{b}*{factor}+pi^3/10^40"):
        assert not equal(value, parse_exact(text))


def _is_zero(text: str) -> bool:
    return equal(parse_exact(text), parse_exact("0"))


@given(st.integers(-60, 60), st.integers(1, 60), st.integers(1, 60), st.integers(0, 30), st.integers(2, 8))
def test_powers_and_roots_undo_each_other(top: int, bottom: int, radicand: int, shift: int, n: int) -> None:
    positive = f"({abs(top)}/{bottom}+sqrt({radicand}))"
    assert equal(parse_exact(f"({positive}^{n})^(1/{n})"), parse_exact(positive))
    assert not equal(parse_exact(f"({positive}^{n}+1/10^{shift})^(1/{n})"), parse_exact(positive))


@given(st.text("0123456789()+-*/^ piesqrtxE.\\{}√π²", max_size=MAX_CHARACTERS))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    begun = time.process_time()
    with contextlib.suppress(NotExact):
        value = parse_exact(text)
        equal(value, value)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "text",
    [
        "*".join(["(1+pi+e+sqrt(2))^1"] * 15),
        "+".join(["(1+sqrt(2)+sqrt(3)+sqrt(6))^4"] * 9),
        "(sqrt(999999937)*sqrt(999999929))^4*(sqrt(99999787)*sqrt(99999773))^4",
        "^".join(["9"] * 19),
        "*".join(["2^511"] * 40),
        "-" * 299 + "1",
        "√" * 299 + "2",
        "sqrt(" * 19 + "2" + ")" * 19,
        "1/((1+2^(1/8))^99-(1+2^(1/8))^99)",
        "1/((sqrt(2)+sqrt(3)+sqrt(5)+sqrt(7)+sqrt(11)+2^(1/3))^9-(sqrt(2)+sqrt(3)+sqrt(5)+sqrt(7)+sqrt(11)+2^(1/3))^9)",
        "+".join(f"{n}^(1/8)" for n in range(2, 42)),
        "+".join(f"1/(1+{n}^(1/7))" for n in range(2, 19)),
        "(1+sqrt(2))^512-(1+sqrt(2))^511*(1+sqrt(2))",
        "sqrt(" * 10 + "(sqrt(2)+sqrt(3))^2-5-sqrt(24)" + ")" * 10,
        "(" * 19 + "1+2^(1/8)" + ")^2" * 19,
    ],
)
def test_the_slowest_texts_are_fast(text: str) -> None:
    begun = time.process_time()
    with contextlib.suppress(NotExact):
        value = parse_exact(text)
        equal(value, parse_exact("sqrt(2)"))
        equal(value, value)
    assert time.process_time() - begun < 0.5
