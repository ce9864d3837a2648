"""What a mathematician reads as one number is that number, exactly; nothing else is a number."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.math.numbers import MAX_CHARACTERS, last_number, parse_number, write_number

numbers = st.one_of(st.integers(-(10**30), 10**30), st.fractions(max_denominator=10**6))


@given(numbers)
def test_numbers_are_read_back(number: int | Fraction) -> None:
    assert parse_number(write_number(number)) == number


@given(st.integers(-(10**15), 10**15), st.integers(0, 6))
def test_separators_and_zeros_change_nothing(number: int, zeros: int) -> None:
    decimals = "." + "0" * zeros if zeros else ""
    assert parse_number(f"{number:,}{decimals}") == number
    assert parse_number(f"{number}{decimals}") == number
    assert parse_number(f"{number:+}") == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234.0", 1234),
        ("1234", 1234),
        ("007", 7),
        ("-0", 0),
        ("+5", 5),
        ("−5", -5),
        ("3.50", Fraction(7, 2)),
        ("7/2", Fraction(7, 2)),
        ("-7/2", Fraction(-7, 2)),
        ("1,000/3", Fraction(1000, 3)),
        ("0.125", Fraction(1, 8)),
        (".5", Fraction(1, 2)),
        ("-.5", Fraction(-1, 2)),
        ("5.", 5),
        ("1,234.", 1234),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1.5e+3", 1500),
        ("2e-3", Fraction(1, 500)),
        ("2e\u22123", Fraction(1, 500)),
        ("$5", 5),
        ("-$5", -5),
        ("$-5", -5),
        (r"\$1,234.50", Fraction(2469, 2)),
        ("€5", 5),
        ("\u20135", -5),
        ("\u20105", -5),
        ("\u20115", -5),
        ("1'234'567", 1234567),
        ("1\u2019234", 1234),
        ("1\u2009234", 1234),
        ("1\u202f234", 1234),
        ("1\u00a0234", 1234),
        ("2 1/2", Fraction(5, 2)),
        ("-2 1/2", Fraction(-5, 2)),
        ("1,000 1/2", Fraction(2001, 2)),
        ("7 / 2", Fraction(7, 2)),
        ("7\u20442", Fraction(7, 2)),
        (r"\boxed{42}", 42),
        (r"\boxed{ -7/2 }", Fraction(-7, 2)),
        ("$42$", 42),
        (r"$\boxed{42}$", 42),
        (r"$$42$$", 42),
        (r"\(42\)", 42),
        (r"\[ 42 \]", 42),
        ("**42**", 42),
        (r"\frac{7}{2}", Fraction(7, 2)),
        (r"-\dfrac{7}{2}", Fraction(-7, 2)),
        (r"\frac{-7}{2}", Fraction(-7, 2)),
        (r"2\frac{1}{2}", Fraction(5, 2)),
        (r"1{,}234", 1234),
        (r"1\,234", 1234),
    ],
)
def test_what_is_a_number(text: str, number: int | Fraction) -> None:
    value = parse_number(text)
    assert value == number
    assert isinstance(value, int) == (Fraction(number).denominator == 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        ".",
        "nan",
        "inf",
        "-inf",
        "Infinity",
        "0x10",
        "1_000",
        "12,34",
        "1,2345",
        ",123",
        "1 234",
        "3 4",
        "3,4",
        "3;4",
        "3 or 4",
        "2+2",
        "2*3",
        "--3",
        "+-3",
        "5-",
        "(5)",
        "5%",
        "five",
        "14/4",
        "4/2",
        "5/1",
        "0/5",
        "1/0",
        "0/0",
        "7/2/1",
        "1.5/2",
        "7/-2",
        "٤٢",
        "４２",
        "²",
        "½",
        "1.2.3",
        "True",
        "9" * 1001,
        "9" * 100000,
        "1/" + "3" * 5000,
        "0." + "0" * 5000,
        "7 or 8",
        "7 8",
        "7, 8",
        "7 and 8",
        "7\n8",
        "3-5",
        "3\u20135",
        "3 - 5",
        "3 to 5",
        "±5",
        "~5",
        "=5",
        "x = 5",
        "5 apples",
        "5/0",
        "5 1/0",
        "2 3/2",
        "2 2/4",
        "2-1/2",
        "2+1/2",
        "1 001/2000",
        "1\u20094",
        "1\u20091/2",
        "1,234'567",
        "1.234,5",
        "1e",
        "e3",
        "1e3.5",
        "1e3e3",
        "1e 3",
        "1/2e3",
        "1e999999",
        "-1e999999",
        "1e-999999",
        "0e999999",
        "1e" + "9" * 900,
        "5*10^3",
        "2^3",
        "- 5",
        "--5",
        "$-$5",
        "-$-5",
        "$$",
        "$",
        "$1$ or $2$",
        "42$",
        r"\boxed{}",
        r"\boxed{7}+\boxed{8}",
        r"\boxed{7} \boxed{8}",
        r"\boxed{42",
        r"\frac{14}{4}",
        r"\frac{7}{0}",
        r"\frac{7}{-2}",
        r"\frac{1+6}{2}",
        r"\frac72",
        "**4**2**",
        "{42}",
        "\u06f4\u06f2",
        "4\u06f2",
        "1e\uff13",
    ],
)
def test_what_is_no_number(text: str) -> None:
    assert parse_number(text) is None


@given(st.integers(-(10**12), 10**12), st.sampled_from([",", "'", "\u2019", "\u2009", "\u202f", "\u00a0"]))
def test_thousands_are_grouped_in_any_of_the_usual_ways(number: int, separator: str) -> None:
    assert parse_number(f"{number:,}".replace(",", separator)) == number


@given(st.fractions(max_denominator=10**4), st.sampled_from(["-", "\u2212", "\u2013"]))
def test_fractions_mixed_numbers_and_latex_agree(value: Fraction, minus: str) -> None:
    units, rest = divmod(abs(value), 1)
    sign = minus if value < 0 else ""
    assert parse_number(f"{sign}{abs(value)}") == value
    assert parse_number(f"\\boxed{{{sign}{abs(value)}}}") == value
    if rest:
        assert parse_number(f"{sign}{units} {rest}") == value
        assert parse_number(f"{sign}{units}\\frac{{{rest.numerator}}}{{{rest.denominator}}}") == value


@given(st.integers(-999, 999), st.integers(-20, 20))
def test_exponents_are_exact(mantissa: int, exponent: int) -> None:
    assert parse_number(f"{mantissa}e{exponent}") == mantissa * Fraction(10) ** exponent


@given(
    st.lists(numbers, min_size=2, max_size=4), st.sampled_from([" ", ", ", "; ", " or ", " and ", "\n", "-"])
)
def test_several_numbers_are_none(several: list[int | Fraction], between: str) -> None:
    whole = [value for value in several if isinstance(value, int)]
    text = between.join(map(write_number, several))
    # A whole number before a proper fraction is read as a mixed number.
    if len(whole) == len(several) or between != " ":
        assert parse_number(text) is None


@given(st.text("0123456789.,'/-+eE$ {}()*\\\u2009\u2013abdfrox", max_size=40))
def test_whatever_is_read_is_a_number_of_bounded_size(text: str) -> None:
    number = parse_number(text)
    assert number is None or abs(number) < 10**MAX_CHARACTERS


@pytest.mark.parametrize(
    "text",
    [
        "$" * MAX_CHARACTERS,
        "*" * MAX_CHARACTERS,
        r"\boxed{" * 142,
        r"\boxed{" * 125 + "}" * 125,
        "1" + " " * (MAX_CHARACTERS - 1),
        "1 " * 500,
        "1,111" * 200,
        ",111" * 250,
        "1" * (MAX_CHARACTERS - 4) + "e999",
        r"\frac{" * 166,
        "1" + r"\frac" * 199,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    parse_number(text)
    assert time.process_time() - begun < 0.1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12 + 7 = 19", 19),
        ("12 + 7 is equal to **19**.", 19),
        (r"So $12 + 7 = \boxed{19}$!", 19),
        ("It is 7/2, or 3 1/2.", Fraction(7, 2)),
        (r"It is \frac{7}{2}", Fraction(7, 2)),
        ("about 1,234.50 dollars", Fraction(2469, 2)),
        ("20 - 32 = -12", -12),
        ("20 - 32 = \u221212", -12),
        ("9-2", 2),
        ("7 or 8", 8),
        ("14/4", None),
        ("x2 and 3rd and v1.2", None),
        ("no number", None),
        ("", None),
        ("9" * 5000, None),
        ("1/" + "9" * 5000, None),
    ],
)
def test_the_last_number_of_a_text_is_found(text: str, number: int | Fraction | None) -> None:
    assert last_number(text) == number


@given(st.lists(numbers, min_size=1, max_size=4), st.sampled_from([", ", "; ", " or ", "\n", " = ", " **"]))
def test_the_last_of_several_numbers_is_found(several: list[int | Fraction], between: str) -> None:
    assert last_number("so: " + between.join(map(write_number, several)) + ".") == several[-1]


@pytest.mark.parametrize(
    "unit", ["1 ", "1,111", "1", "1x", "1.", "\\frac{", "1\\frac", "1/", " ", "$-", "1e1"]
)
def test_no_text_is_searched_for_long(unit: str) -> None:
    begun = time.process_time()
    last_number(unit * (200_000 // len(unit)))
    assert time.process_time() - begun < 10  # a quadratic search takes minutes
