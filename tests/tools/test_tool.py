import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.tools.errors import ToolError
from ludus.tools.tool import tool


@tool
def book(
    self,
    state,
    day: str,
    seats: int = 1,
    kind: Literal["bus", "train"] = "bus",
    stops: list[str] | None = None,
):
    """Book a trip.

    Takes effect at once.

    Args:
        day: The day, as in
            2026-03-01.
        seats: How many.
        kind: By what.
        stops: Where to stop.
    """
    return day, seats, kind, stops


def test_the_schema_is_openais():
    described = book.openai
    assert described["type"] == "function"
    function = described["function"]
    assert (function["name"], function["description"]) == ("book", "Book a trip. Takes effect at once.")
    parameters = function["parameters"]
    assert list(parameters["properties"]) == ["day", "seats", "kind", "stops"]
    assert parameters["required"] == ["day"]
    assert parameters["properties"]["day"] == {"type": "string", "description": "The day, as in 2026-03-01."}
    assert parameters["properties"]["kind"]["enum"] == ["bus", "train"]
    json.dumps(described)


def test_arguments_are_read_from_objects_and_text():
    expected = {"day": "x", "seats": 2, "kind": "bus", "stops": None}
    assert book.read({"day": "x", "seats": 2}) == expected
    assert book.read('{"day": "x", "seats": 2}') == expected


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object"),
        (None, "must be a JSON object"),
        ({}, "'day' is missing"),
        ({"day": "x", "seat": 1}, "no argument 'seat'"),
        ({"day": "x", "seats": "many"}, "seats: .*integer"),
        ({"day": "x", "kind": "boat"}, "kind: .*'bus' or 'train'"),
        ('{"day": ' + "[" * 100_000, "not valid JSON"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(arguments, complaint):
    with pytest.raises(ToolError, match=complaint):
        book.read(arguments)


@given(st.text() | st.dictionaries(st.text(), st.none() | st.integers() | st.text()))
def test_anything_is_read_or_refused(arguments):
    try:
        complaint = "book: " if book.read(arguments).keys() == {"day", "seats", "kind", "stops"} else ""
    except ToolError as error:
        complaint = str(error)
    assert complaint.startswith("book: ")


def test_tools_must_be_described():
    def bare(x: int):
        pass

    def untyped(x):
        """Do.

        Args:
            x: It.
        """

    def undescribed(x: int):
        """Do."""

    for function, complaint in (
        (bare, "no docstring"),
        (untyped, "no type hint"),
        (undescribed, "no description"),
    ):
        with pytest.raises(TypeError, match=complaint):
            tool(function)
