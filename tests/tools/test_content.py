"""Keys of content: equal values have the same, others another, in every process."""

import copy
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.tools.content import KeysByIdentity, NoContentKey, content_key

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.fractions()
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=5)
    | st.dates()
    | st.timedeltas()
)
hashable = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
values = st.recursive(
    hashable,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hashable, inner, max_size=3),
    max_leaves=6,
)


@given(values, values)
@settings(max_examples=300)
def test_keys_are_equal_where_values_are(first: Any, second: Any) -> None:
    assert 0 <= content_key(first) < 2**63
    assert content_key(first) == content_key(copy.deepcopy(first))
    assert (content_key(first) == content_key(second)) == (first == second)


class Colour(Enum):
    RED = 1
    BLUE = 2


class Shape(Enum):
    RED = 1


@dataclass(frozen=True, slots=True)
class Room:
    name: str
    visits: int = field(default=0, compare=False)
    """A counter that plays no part in whether two rooms are equal."""


@dataclass(frozen=True)
class Hall:
    name: str


NOON = datetime(2031, 3, 3, 12, tzinfo=UTC)
DIFFERENT = [
    *(0, 1, -1, 16, 0.5, Fraction(1, 3), float("inf"), float("-inf"), float("nan"), 10**5000, 10**5000 + 1),
    *(timedelta(microseconds=10), 0xD10, 0xB1, 0xE, 0xA),
    *("", "a", "ab", "\ud800", "1", b"", b"a", b"ab", None),
    *((), [], {}, frozenset(), ("a", "b"), ("ab",), (("a",), "b"), ("a", ("b",)), ["a", "b"]),
    *({"a": "b"}, {"b": "a"}, frozenset({"a", "b"}), {("a", "b"): None}),
    *(Colour.RED, Colour.BLUE, Shape.RED, Room("a"), Room("b"), Hall("a")),
    *(date(2031, 3, 3), datetime(2031, 3, 3), NOON, NOON.astimezone(ZoneInfo("Asia/Tokyo")), timedelta(1)),
    *(np.zeros(3), np.zeros(3, np.int8), np.zeros((1, 3)), np.ones(3), np.array(["a", None], object)),
]


def test_different_contents_have_different_keys() -> None:
    keys = [content_key(value) for value in DIFFERENT]
    assert len(set(keys)) == len(DIFFERENT)


def test_what_plays_no_part() -> None:
    assert (
        content_key(1)
        == content_key(1.0)
        == content_key(True)
        == content_key(np.int64(1))
        == content_key(Fraction(1))
    )
    assert content_key(0.5) == content_key(Fraction(1, 2)) == content_key(np.float32(0.5))
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    assert content_key({"a", "b"}) == content_key(frozenset({"b", "a"}))
    assert content_key(Room("a", 1)) == content_key(Room("a", 2))


@pytest.mark.parametrize("value", [print, object(), Decimal(1), (1, [lambda: 0]), {"a": Room}, iter(())])
def test_what_has_no_content_is_refused_by_name(value: Any) -> None:
    with pytest.raises(NoContentKey, match="has no content to be told by"):
        content_key(value)


def test_another_process_gives_the_same() -> None:
    value = [{"a", "b", "c"}, {"x": (1, None), "y": b"\xff"}, "text", 0.1]
    program = f"from ludus.tools.content import content_key; print(content_key({value!r}))"
    for seed in ("1", "2024"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        printed = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
        assert int(printed) == content_key(value)


def test_a_value_that_is_kept_is_keyed_once() -> None:
    asked: list[str] = []

    def key(value: list[str]) -> int:
        asked.append(value[0])
        return len(asked)

    keys = KeysByIdentity(key, most=2)
    first, second, third = ["a"], ["b"], ["c"]
    assert [keys(value) for value in (first, first, second, first)] == [1, 1, 2, 1]
    assert keys(third) == 3
    assert keys(second) == 2
    assert keys(first) == 4  # the oldest was let go
    assert keys(["a"]) == 5  # another value, if an equal one
