"""Answers: what a program may print, and when it is right."""

from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.code.analysis.answers import Form, written

DECIMAL = Form("decimal", Fraction(1, 100))
words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


@given(st.integers(-(10**20), 10**20))
def test_integers_are_read_as_printed(number: int) -> None:
    form = Form("integer")
    assert form.read(f"{number}\n") == number
    assert form.same(form.read(f" {number}"), number)
    assert not form.same(form.read(str(number)), number + 1)


@given(st.floats(-1e15, 1e15).filter(lambda number: number == 0 or abs(number) > 1e-90))
def test_floats_are_read_as_python_prints_them(number: float) -> None:
    assert DECIMAL.read(str(number)) == Fraction(str(number))


@given(st.fractions(-1000, 1000), st.fractions(-1, 1))
def test_a_decimal_is_right_within_its_tolerance(expected: Fraction, off: Fraction) -> None:
    assert DECIMAL.same(expected + off, expected) == (abs(off) <= Fraction(1, 100))


@given(st.dates(date(1000, 1, 1)))
def test_dates_are_read_as_printed(day: date) -> None:
    assert Form("date").read(f"{day}\n") == day


@given(st.lists(words, min_size=1, max_size=5))
def test_lists_are_compared_item_by_item_in_order(items: list[str]) -> None:
    form, expected = Form("list"), tuple(items)
    assert form.same(form.read(", ".join(items)), expected)
    assert form.same(form.read(" ,".join(items).upper() + "\n"), tuple(item.upper() for item in items))
    assert not form.same(form.read(", ".join([*items, "x"])), expected)
    if len(set(items)) > 1:
        assert not form.same(form.read(", ".join(items[::-1])), expected) or items == items[::-1]


def test_case_and_whitespace_do_not_matter_in_texts() -> None:
    form = Form("text")
    assert form.same(form.read("  ada   HOLM\n"), "Ada Holm")
    assert not form.same(form.read("Ada"), "Ada Holm")
    # What was read compares with what was read, and one reference with another.
    assert form.same("Ada Holm", "ada holm")


@pytest.mark.parametrize(
    ("form", "printed"),
    [
        *(
            (Form("integer"), text)
            for text in ("12.0", "1e3", "twelve", "True", "0x1f", "1,000", "٣", "9" * 31)
        ),
        *((DECIMAL, text) for text in ("nan", "inf", "-inf", "1e999", "1,5", "1.5 €", "1/2", ".", "1_0")),
        *(
            (Form("date"), text)
            for text in ("31.01.2024", "2024-13-01", "2024-1-1", "2024-01-01 00:00", "today")
        ),
        *((Form(kind), "one\ntwo") for kind in ("integer", "decimal", "text", "date", "list")),
        *((Form(kind), " \n") for kind in ("integer", "decimal", "text", "date", "list")),
        *((Form(kind), "x" * 1001) for kind in ("integer", "decimal", "text", "date", "list")),
        (Form("text"), "a\x0cb"),
    ],
)
def test_what_is_no_answer_is_explained(form: Form, printed: str) -> None:
    with pytest.raises(ValueError, match="it printed"):
        form.read(printed)


def test_what_is_written_is_read_back() -> None:
    for form, value in (
        (Form("integer"), 7),
        (DECIMAL, Fraction(1, 3)),
        (Form("text"), "Ada"),
        (Form("date"), date(2024, 1, 2)),
        (Form("list"), ("a", "b")),
    ):
        assert form.same(form.read(written(value)), value)
