"""Answers in the form in which votes are counted, and votes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.answers import Vote, final_answer, is_voted_on, majority
from ludus.agents.episode import Episode, StopReason, Turn


def answer(arguments: Any = None, text: str = "", stop: StopReason = StopReason.TERMINATED) -> str | None:
    call = {"id": "1", "type": "function", "function": {"name": "submit", "arguments": arguments}}
    calls = [] if arguments is None else [call]
    reply: Any = {"role": "assistant", "content": text, "tool_calls": calls}
    return final_answer(Episode("x", {}, 0, "task", (Turn([], reply, 0.0, {}),), stop))


@pytest.mark.parametrize(
    "alike",
    [
        [
            {"value": 4.2},
            {"value": "4.2"},
            '{"value": "4.20"}',
            {"value": '"4.2"'},
            {"value": 4.2, "unit": ""},
        ],
        [{"value": "4.2 °C"}, {"value": 4.2, "unit": "celsius"}, {"value": "4.2", "unit": "°C"}],
        [{"value": "−3"}, {"value": -3}, {"value": "-3.0"}],
        [{"answer": "The Harbour.", "pages": ["b", "a"]}, {"pages": ["a", "b", "a"], "answer": "harbour"}],
        [{"answer": "1987", "pages": []}, {"answer": 1987}],
    ],
)
def test_what_a_judge_takes_for_the_same_is_one_answer(alike: list[Any]) -> None:
    assert len({answer(arguments) for arguments in alike}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"value": 4.2}, {"value": 4.3}),
        ({"value": "4 °C"}, {"value": "4 °F"}),
        ({"value": 12}, {"value": "12 May"}),
        ({"answer": "harbour", "pages": ["a"]}, {"answer": "harbour", "pages": ["b"]}),
        ({"value": True}, {"value": 1}),
    ],
)
def test_different_answers_stay_apart(one: Any, other: Any) -> None:
    assert answer(one) != answer(other)


def test_tags_hold_an_answer_too() -> None:
    assert answer(text="<answer>3.50</answer>") == answer(text="<answer> 7/2 </answer>") == "7/2"
    assert answer(text="<answer>1</answer><answer>2</answer>") is None
    assert answer({}) is answer({"value": ""}) is answer(text="<answer> </answer>") is None


@pytest.mark.parametrize("stop", [StopReason.ENGINE_FAULT, StopReason.REFUSED])
def test_without_a_score_there_is_no_answer(stop: StopReason) -> None:
    assert answer({"value": 1}, stop=stop) is None


json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200)
@given(json | st.text())
def test_any_arguments_are_read(arguments: Any) -> None:
    assert answer(arguments) is None or isinstance(answer(arguments), str)


def test_arguments_nested_too_deeply_are_no_answer() -> None:
    nested: Any = "x"
    for _ in range(5_000):
        nested = [nested]
    assert answer({"value": nested}) is None


def votes(*pairs: tuple[str | None, bool]) -> list[Vote]:
    return [Vote(*pair) for pair in pairs]


def test_the_majority_wins_the_vote() -> None:
    group = votes(("7", True), ("7", True), ("8", False))
    assert majority(group)[0] == 1
    assert majority([*group, *votes(("8", False), ("8", False))])[0] == 0


def test_tied_answers_share_the_vote_and_no_answer_has_none() -> None:
    assert majority(votes(("7", True), ("8", False), (None, False), (None, False)))[0] == 0.5
    assert majority(votes((None, True), (None, False)))[0] == 0


def test_a_number_without_a_unit_votes_with_the_same_number() -> None:
    group = votes(("21/5 °C", True), ("21/5", True), ("5 °C", False), ("5 °C", False), ("21/5", True))
    assert majority(group)[0] == 1


def test_missing_votes_may_turn_it_either_way() -> None:
    value, bounds = majority(votes(("7", True), ("7", True), ("8", False)), unscored=2)
    assert (value, bounds.low, bounds.high) == (1, 0, 1)
    value, bounds = majority(votes(*[("7", True)] * 3), unscored=1)
    assert (value, bounds.low, bounds.high) == (1, 1, 1)


def test_there_is_a_vote_where_success_comes_from_answers() -> None:
    assert is_voted_on(votes(("7", True), (None, False)))
    assert is_voted_on(votes(("7", False)))
    assert not is_voted_on(votes((None, True), ("7", False)))
    assert not is_voted_on(votes((None, False)))
