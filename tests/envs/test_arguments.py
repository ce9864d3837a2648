"""Arguments of environments are checked in one place, in the same words."""

import math
from typing import Any

import numpy as np
import pytest

from ludus.envs import arguments
from ludus.envs.errors import ArgumentError


@pytest.mark.parametrize(
    ("read", "given", "expected"),
    [
        (lambda x: arguments.as_integer("n", x, 0, 9), np.int64(3), 3),
        (lambda x: arguments.as_integer("n", x, 0, 9), np.array(3), 3),
        (lambda x: arguments.as_integers("n", x, 0, 9), np.uint8(3), (3,)),
        (lambda x: arguments.as_integers("n", x, 0, 9), np.arange(3), (0, 1, 2)),
        (lambda x: arguments.as_number("x", x, -1, 1), np.float32(0.5), 0.5),
        (lambda x: arguments.as_share("x", x), np.int32(1), 1.0),
        (lambda x: arguments.as_flag("x", x), np.True_, True),
        (lambda x: arguments.as_choice("x", x, ("a", "b")), np.str_("b"), "b"),
        (lambda x: arguments.as_choices("x", x, ("a", "b")), np.array(["b"]), ("b",)),
        (lambda x: arguments.as_choices("x", x, ("a", "b")), "a", ("a",)),
        (lambda x: arguments.as_choices("x", x, ("a", "b")), None, ("a", "b")),
        (lambda x: arguments.as_weights(x, {"a": 1.0, "b": 2.0}), {"b": np.int8(5)}, {"a": 1.0, "b": 5.0}),
    ],
)  # fmt: skip
def test_values_come_back_as_plain_python(read: Any, given: Any, expected: Any) -> None:
    value = read(given)
    assert value == expected
    assert repr(value) == repr(expected)


@pytest.mark.parametrize("given", [True, np.True_, 1.0, "1", None, 10, -1, math.nan, [1]])
def test_what_is_no_integer_is_refused_with_what_would_be_right(given: Any) -> None:
    with pytest.raises(ArgumentError) as refused:
        arguments.as_integer("rows", given, 0, 9)
    assert str(refused.value) == f"rows={given!r}: give an integer from 0 to 9"


@pytest.mark.parametrize("given", [True, np.True_, "0.5", None, 1.5, -0.1, math.nan, math.inf, 1j])
def test_what_is_no_share_is_refused(given: Any) -> None:
    with pytest.raises(ArgumentError, match="give a number from 0 to 1"):
        arguments.as_share("share", given)


def test_an_unknown_name_is_refused_with_the_nearest_and_all() -> None:
    with pytest.raises(ArgumentError) as refused:
        arguments.as_choices("kinds", ["boook"], ("book", "move"))
    assert str(refused.value) == "kinds: 'boook' is unknown; did you mean book? Choose from book, move"
    with pytest.raises(ArgumentError) as refused:
        arguments.as_choice("places", "Mars", ("invented", "real"))
    assert str(refused.value) == "places: 'Mars' is unknown; choose from invented, real"
    with pytest.raises(ArgumentError) as refused:
        arguments.refuse_unknown_options({"maze": 3}, ())
    assert str(refused.value) == "options: 'maze' is unknown; there are none"


def test_choices_are_at_least_one_name() -> None:
    with pytest.raises(ArgumentError, match=r"kinds=\(\) is empty; choose from book"):
        arguments.as_choices("kinds", (), ("book",))
    with pytest.raises(ArgumentError, match="kinds=5: give a name, or a list of names"):
        arguments.as_choices("kinds", 5, ("book",))
