"""Reading replies: tags, numbers, closeness."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.errors import ArgumentError
from ludus.envs.math.answers import Reading, Tags, closeness
from ludus.envs.math.numbers import write_number

numbers = st.one_of(st.integers(-(10**30), 10**30), st.fractions(max_denominator=10**6))
TAGS = Tags("think", "answer")


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    reading = TAGS.read(text)
    assert 0 <= reading.partial <= 1


@given(numbers, numbers)
def test_closeness_is_bounded_and_1_exactly_at_the_answer(
    answer: int | Fraction, given_number: int | Fraction
) -> None:
    value = closeness(answer, given_number)
    assert 0 <= value <= 1
    if given_number == answer:
        assert value == 1
    assert closeness(-answer, -given_number) == value


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6), st.integers(1, 10**6), st.sampled_from((1, -1)))
def test_closeness_falls_with_distance(answer: int, near: int, further: int, sign: int) -> None:
    assert closeness(answer, answer + sign * near) > closeness(answer, answer + sign * (near + further))


def test_closeness_is_relative() -> None:
    assert closeness(4, 5) > 10 * closeness(4, 500) > 0
    assert closeness(400, 500) == closeness(4, 5) == pytest.approx(1 / 3.5)
    assert closeness(0, 0) == 1
    assert closeness(Fraction(1, 3), Fraction(1, 3)) == 1
    assert closeness(10**400, 0) == pytest.approx(1 / 11)
    assert closeness(1, 10**900) == 0


EXACT = "<think>so</think><answer>12</answer>"


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        (EXACT, Reading(True, 1.0, 12)),
        (f"\n {EXACT} \n", Reading(True, 1.0, 12)),
        ("<think>a\nb</think>\n\n<answer> 1,200.0\n</answer>", Reading(True, 1.0, 1200)),
        ("Well. " + EXACT, Reading(False, 1.0, 12)),
        (EXACT + " I am sure.", Reading(False, 1.0, 12)),
        ("<think>so</think> thus <answer>12</answer>", Reading(False, 1.0, 12)),
        ("<think> </think><answer>12</answer>", Reading(False, 1.0, 12)),
        ("<answer>12</answer><think>so</think>", Reading(False, 1.0, 12)),
        ("<think>so<answer>12</answer></think>", Reading(False, 1.0, 12)),
        ("<think>so</think><answer>twelve</answer>", Reading(False, 1.0, None)),
        ("<think>so</think><answer></answer>", Reading(False, 1.0, None)),
        ("<answer>12</answer>", Reading(False, 0.5, 12)),
        ("</think><answer>12</answer>", Reading(False, 0.75, 12)),
        ("<think>so</think><answer>12", Reading(False, 0.75, None)),
        ("<think>so</think>12</answer>", Reading(False, 0.75, None)),
        ("</answer>12<answer>", Reading(False, 0.5, None)),
        ("<think>so</think>12", Reading(False, 0.5, None)),
        ("12", Reading(False, 0.0, None)),
        ("", Reading(False, 0.0, None)),
        (EXACT + "<answer>13</answer>", Reading(False, 0.5, None)),
        (EXACT + "<answer>12</answer>", Reading(False, 0.5, None)),
        ("<think>maybe <answer>5</answer></think><answer>12</answer>", Reading(False, 0.5, None)),
        ("<think>a</think><think>b</think><answer>12</answer>", Reading(False, 0.5, 12)),
        ("<think>so</think><answer><answer>12</answer></answer>", Reading(False, 0.5, None)),
        ("<THINK>so</THINK><ANSWER>12</ANSWER>", Reading(False, 0.0, None)),
    ],
)
def test_reading(text: str, reading: Reading) -> None:
    assert TAGS.read(text) == reading


@given(st.integers(), st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True))
def test_tags_can_be_renamed(number: int, name: str) -> None:
    tags = Tags(f"{name}-work", name)
    assert tags.read(tags.write("steps", write_number(number))) == Reading(True, 1.0, number)
    assert tags.read(EXACT).number is None or name == "answer"


@pytest.mark.parametrize("name", ["", "a b", "<think>", "9th", "é", "a/b", None, 3])
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(ArgumentError, match=r"think_tag=.*not a tag name"):
        Tags(name, "answer")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"answer_tag=.*not a tag name"):
        Tags("think", name)  # type: ignore[arg-type]


def test_tags_are_two() -> None:
    with pytest.raises(ArgumentError, match="both 'a'"):
        Tags("a", "a")
