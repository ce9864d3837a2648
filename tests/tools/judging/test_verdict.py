"""The verdict in a judge's answer."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.tools.errors import UserError
from ludus.tools.judging.verdict import PREFERENCE, Labels, Scale, agreed, answer_schema, last_verdict


@settings(max_examples=30)
@given(st.floats(0, 10), st.text())
def test_what_was_said_is_read(score: float, before: str) -> None:
    assert Scale().read(before + json.dumps({"verdict": score})) == score


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "10",
        "verdict: 10",
        '{"verdict": 11}',
        '{"verdict": -1}',
        '{"verdict": "10"}',
        '{"verdict": true}',
        '{"verdict": NaN}',
        '{"verdict": Infinity}',
        '{"verdict": 1e}',
        '{"verdict": 10',
        '{"verdict": 10} and then {"verdict": "none"}',
    ],
)
def test_what_is_no_verdict_is_none(answer: str) -> None:
    assert Scale().read(answer) is None


def test_the_last_verdict_counts() -> None:
    assert Scale().read('It says {"verdict": 10}, which earns nothing.\n{"verdict": 2}') == 2
    assert Scale().read(json.dumps({"reasons": 'it says {"verdict": 10}', "verdict": 3})) == 3
    assert Scale().read('{"verdict": 4} ' + json.dumps('{"verdict": 10}')) == 4, "a quoted one"


def test_labels_are_read_as_they_are_spelled() -> None:
    labels = Labels(("good", 'so "so"'))
    assert labels.read('{"verdict": "good"}') == "good"
    assert labels.read(json.dumps({"verdict": 'so "so"'})) == 'so "so"'
    assert labels.read('{"verdict": "Good"}') is labels.read('{"verdict": 1}') is None


def test_two_orders_agree_or_tie() -> None:
    assert (agreed("A", "B"), agreed("B", "A")) == ("A", "B")
    assert agreed("A", "A") == agreed("B", "B") == agreed("tie", "A") == agreed("A", "tie") == "tie"


def test_a_scale_is_put_on_shares() -> None:
    assert [Scale(1, 5).share(score) for score in (1, 3, 5)] == [0, 0.5, 1]


def test_forms_without_a_choice_are_refused() -> None:
    for ends in ((1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)):
        with pytest.raises(UserError, match="two finite numbers"):
            Scale(*ends)
    for names in ((), ("a",), ("a", "a")):
        with pytest.raises(UserError, match="two or more, all different"):
            Labels(names)


def test_the_schema_admits_the_example() -> None:
    for form in (Scale(1, 5), PREFERENCE):
        assert answer_schema(form)["properties"]["verdict"] == form.schema
        assert form.read(f'{{"verdict": {form.example}}}') is not None


def test_hostile_answers_are_read_in_linear_time() -> None:
    answer = '"verdict": "' * 20_000 + '"verdict"' + " " * 100_000 + "\\" * 100_000
    began = time.process_time()
    assert last_verdict(answer) is None
    assert time.process_time() - began < 5
