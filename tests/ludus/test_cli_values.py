"""Values of `--arg` and `--dotted.key value`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.cli.errors import UsageError
from ludus.cli.values import parse_arguments, parse_value, split_overrides


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-0.5", -0.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("null", None),
        ("plus", "plus"),
        ('"7"', "7"),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ("{a = 1}", {"a": 1}),
        ("", ""),
        ("<answer>", "<answer>"),
        ("7\nother = 1", "7\nother = 1"),
    ],
)
def test_values_are_toml_then_json_then_text(text: str, value: Any) -> None:
    assert parse_value(text) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(json_values)
def test_every_json_value_is_read_back(value: Any) -> None:
    assert parse_arguments([f"key={json.dumps(value)}"]) == {"key": value}


@given(st.text())
def test_no_text_breaks_the_reading_of_values(text: str) -> None:
    parse_value(text)


def test_arguments_keep_what_stands_behind_the_first_equals_sign() -> None:
    assert parse_arguments(["rows=7", "tag=a=b"]) == {"rows": 7, "tag": "a=b"}


@pytest.mark.parametrize("pairs", [["rows"], ["=7"], ["two words=7"], ["rows=7", "rows=8"]])
def test_wrong_pairs_are_refused_by_name(pairs: list[str]) -> None:
    with pytest.raises(UsageError, match="--arg"):
        parse_arguments(pairs)


def test_overrides_are_taken_out_wherever_they_stand() -> None:
    argv = ["--grpo.clip-low", "0.1", "a.toml", "--resume", "--sft.steps=-1", "--name", "x", "--a.b", "-2"]
    kept, overrides = split_overrides(argv, {"resume", "name"})
    assert kept == ["a.toml", "--resume", "--name", "x"]
    assert overrides == {"grpo.clip_low": "0.1", "sft.steps": "-1", "a.b": "-2"}


@pytest.mark.parametrize("argv", [["--grpo.steps"], ["--grpo.steps", "--resume"]])
def test_an_override_needs_a_value(argv: list[str]) -> None:
    with pytest.raises(UsageError, match=r"--grpo\.steps has no value"):
        split_overrides(argv, {"resume"})
