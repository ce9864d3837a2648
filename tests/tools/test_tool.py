import contextlib
import json
from typing import Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.tools import schema
from ludus.tools.errors import ToolError
from ludus.tools.tool import Tool, tool


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
        ({"day": "x", "kind": "boat"}, "kind: must be one of 'bus', 'train', not 'boat'"),
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


def test_the_same_schema_for_mcp():
    listed = book.mcp
    function = book.openai["function"]
    assert listed == {
        "name": "book",
        "description": function["description"],
        "inputSchema": function["parameters"],
    }
    mcp_types = pytest.importorskip("mcp.types", reason="needs mcp")
    assert mcp_types.Tool.model_validate(listed).name == "book"


SCHEMA = {
    "type": "object",
    "properties": {
        "day": {"type": "string", "minLength": 2, "pattern": "^[a-z]+$"},
        "seats": {"type": "integer", "minimum": 1, "maximum": 9},
        "kind": {"enum": ["bus", "train"]},
        "stops": {"type": "array", "items": {"$ref": "#/$defs/Stop"}, "maxItems": 2},
        "price": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]},
    },
    "required": ["day"],
    "$defs": {
        "Stop": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/Stop"}},
            "required": ["name"],
            "additionalProperties": False,
        }
    },
}
foreign = Tool.from_schema("book", "Book a trip.", SCHEMA, lambda **arguments: arguments)


def test_a_tool_from_elsewhere_keeps_its_schema_and_its_arguments():
    assert foreign.openai["function"]["parameters"] == foreign.mcp["inputSchema"] == SCHEMA
    given = {"day": "monday", "stops": [{"name": "a", "next": {"name": "b"}}], "price": None}
    assert foreign.read(json.dumps(given)) == foreign.read(given) == given
    assert foreign.function(**foreign.read({"day": "monday", "seats": 3.0})) == {
        "day": "monday",
        "seats": 3.0,
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "book: the argument 'day' is missing"),
        ({"day": "monday", "seat": 1}, "book: there is no argument 'seat'; did you mean 'seats'?"),
        ({"day": "monday", "zzz": 1}, "there are: day, seats, kind, stops, price"),
        ({"day": 1}, "book: day: must be a text, not 1"),
        ({"day": "m"}, "day: must have at least 2 characters, not 1"),
        ({"day": "Monday"}, "day: must match ^[a-z]+$, not 'Monday'"),
        ({"day": "mo", "seats": "many"}, "seats: must be an integer, not 'many'"),
        ({"day": "mo", "seats": True}, "seats: must be an integer, not true"),
        ({"day": "mo", "seats": 1.5}, "seats: must be an integer, not 1.5"),
        ({"day": "mo", "seats": 0}, "seats: must be at least 1, not 0"),
        ({"day": "mo", "seats": 10}, "seats: must be at most 9, not 10"),
        ({"day": "mo", "kind": "bos"}, "kind: must be one of 'bus', 'train', not 'bos'; did you mean 'bus'?"),
        ({"day": "mo", "stops": {}}, "stops: must be a list, not {}"),
        ({"day": "mo", "stops": [{}]}, "the argument 'stops.0.name' is missing"),
        ({"day": "mo", "stops": [{"name": "a"}] * 3}, "stops: must have at most 2 items, not 3"),
        (
            {"day": "mo", "stops": [{"name": "a", "next": {"name": 1}}]},
            "stops.0.next.name: must be a text, not 1",
        ),
        (
            {"day": "mo", "stops": [{"name": "a", "nam": 1}]},
            "no argument 'stops.0.nam'; did you mean 'stops.0.name'?",
        ),
        ({"day": "mo", "price": 0}, "price: must be above 0, not 0"),
        ({"day": "mo", "price": "free"}, "price: must be a number or null, not 'free'"),
        ({"day": "mo", "price": float("nan")}, "price: must be a number or null"),
        ({"day": "mo\ud800"}, "hold half of a surrogate pair"),
        ({"day": 1, "seats": 0}, "day: must be a text, not 1; seats: must be at least 1, not 0"),
        ('{"day": NaN}', "not valid JSON: NaN is no JSON"),
        ("{'day': 'mo'}", "not valid JSON: Expecting property name"),
    ],
)
def test_what_a_foreign_schema_refuses_is_said(arguments, complaint):
    with pytest.raises(ToolError) as error:
        foreign.read(arguments)
    assert complaint in str(error.value)


def test_deep_arguments_are_refused_and_endless_schemas_end():
    deep = {"name": "a"}
    for _ in range(3000):
        deep = {"name": "a", "next": deep}
    with pytest.raises(ToolError, match="nested too deeply"):
        foreign.read({"day": "mo", "stops": [deep]})
    endless = Tool.from_schema("f", "", {"properties": {"x": {"$ref": "#/properties/x"}}}, print)
    assert endless.read({"x": 1}) == {"x": 1}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"day": "x", "seat": 1}, "there is no argument 'seat'; did you mean 'seats'?"),
        (
            {"day": "x", "seats": "many"},
            "seats: must be a valid integer, unable to parse string as an integer, not",
        ),
        ({"day": "x", "kind": "bas"}, "kind: must be one of 'bus', 'train', not 'bas'; did you mean 'bus'?"),
        ({"day": "x", "stops": [1]}, "stops.0: must be a valid string, not 1"),
        ("(day=Monday)", "Expecting value: line 1 column 1 (char 0); they were '(day=Monday)'"),
        ("x" * 1000, "they were 'xxxxxxxx"),
        ({"day": "\ud800"}, "hold half of a surrogate pair"),
    ],
)
def test_messages_show_what_was_given_and_what_may_be_meant(arguments, complaint):
    with pytest.raises(ToolError) as error:
        book.read(arguments)
    assert complaint in str(error.value)
    assert len(str(error.value)) < 250


@tool
def scale(factor: float):
    """Scale.

    Args:
        factor: By how much.
    """


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_numbers_are_finite(factor):
    with pytest.raises(ToolError, match="factor: must be a finite number"):
        scale.read({"factor": factor})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "x"]), JSON))
def test_the_own_validator_agrees_with_jsonschema(arguments):
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    # Texts of lists and objects are read as such.
    meant = schema.unpacked(arguments, SCHEMA, SCHEMA)
    valid = jsonschema.Draft202012Validator({**SCHEMA, "additionalProperties": False}).is_valid(meant)
    try:
        foreign.read(arguments)
    except ToolError:
        # Stricter about what is not JSON.
        assert not valid or "NaN" in repr(arguments) or "nan" in repr(arguments) or "inf" in repr(arguments)
    else:
        assert valid


def _in_itself():
    found = {}
    found["day"] = [found]
    return found


def test_values_that_have_no_json_are_refused():
    for arguments in ({"day": 10**5_000}, _in_itself(), 10**5_000, {"day": {(1, 2): 3}}):
        with pytest.raises(ToolError, match=r"^book: the arguments .*JSON"):
            book.read(arguments)


def test_a_list_of_thousands_does_not_get_as_many_complaints():
    foreign = Tool.from_schema("foreign", "A tool.", book.parameters, lambda **_: None)
    for each in (book, foreign):
        with pytest.raises(ToolError, match=r"stops\.9: .*; and 4990 more") as refused:
            each.read({"day": "x", "stops": [1] * 5_000})
        assert len(str(refused.value)) < 2_000


class Stop(pydantic.BaseModel):
    name: str
    minutes: list[int] = []


@tool
def route(
    stops: list[Stop],
    tags: list[str] | None = None,
    limits: dict[str, float] | None = None,
    note: str | list[str] = "",
    speed: float = 1,
    count: int = 1,
    exact: bool = False,
):
    """Plan.

    Args:
        stops: Where.
        tags: What to see.
        limits: By name.
        note: Words.
        speed: Of travel.
        count: How many.
        exact: To the minute.
    """


OWN_AND_FOREIGN = [route, Tool.from_schema("route", "Plan.", route.parameters, lambda **_: None)]


@pytest.mark.parametrize("tool", OWN_AND_FOREIGN, ids=["own", "foreign"])
def test_texts_of_lists_and_objects_are_taken_for_them(tool):
    stop = '{"name": "a", "minutes": "[1, 2]"}'
    for stops in (f"[{stop}]", [stop], [{"name": "a", "minutes": "[1, 2]"}]):
        read = tool.read({"stops": stops, "tags": ' ["b"]', "limits": '{"c": 1.5}', "note": '["d"]'})
        assert (read["tags"], read["limits"]) == (["b"], {"c": 1.5})
        # A text may be meant where a text is admitted.
        assert read["note"] == '["d"]'
        (first,) = read["stops"]
        assert dict(first) == {"name": "a", "minutes": [1, 2]}


@pytest.mark.parametrize("tool", OWN_AND_FOREIGN, ids=["own", "foreign"])
@pytest.mark.parametrize(
    "text",
    [
        "[1, 2",
        "['a']",
        '["\\ud800"]',
        "[NaN]",
        "[1e999]",
        '{"name": "a"}',
        "[" * 100_000,
        "[" * 500 + "]" * 500,
        "1",
    ],
)
def test_texts_of_no_fitting_list_are_refused(tool, text):
    with pytest.raises(ToolError, match="stops"):
        tool.read({"stops": text})


ODD = JSON | st.sampled_from(
    [
        10**400,
        -(10**400),
        1e308,
        "[]",
        "{}",
        "[[]]",
        "\ud800",
        "\x00",
        "a\x0b",
        '"',
        "[" * 5_000,
        "1" * 5_000,
    ]
)


@given(st.lists(ODD, max_size=4), st.data())
def test_any_json_for_any_argument_is_read_or_refused(values, data):
    for one in (*OWN_AND_FOREIGN, book, foreign, scale):
        names = st.sampled_from([*one.parameters["properties"], "x", "\ud800", "a.b"])
        arguments = {data.draw(names): value for value in values}
        for written in (arguments, json.dumps(arguments)):
            try:
                read = one.read(written)
            except ToolError as error:
                str(error).encode()
            else:
                json.dumps(read, default=lambda model: model.model_dump(), allow_nan=False).encode()


ODD_SCHEMAS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=3)
    | st.sampled_from(["#", "#/x", "#/anyOf/0"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "properties", "items", "required", "enum", "const", "anyOf", "oneOf", "allOf", "$ref",
             "x", "additionalProperties", "minLength", "maxItems", "minimum", "pattern"]
        ),
        inner | st.sampled_from(["object", "array", "string", "integer", ["null", "number"]]),
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["properties", "required", "anyOf", "$ref"]), ODD_SCHEMAS), JSON)
def test_no_schema_of_a_server_breaks_reading(parameters, value):
    """A keyword with an invalid value is ignored."""
    odd = Tool.from_schema("odd", "", parameters, lambda **_: None)
    for arguments in ({"x": value}, {"x": {"x": value}}, {}):
        with contextlib.suppress(ToolError):
            odd.read(arguments)


def test_alternatives_that_lead_back_to_themselves_end():
    again = {"$ref": "#/$defs/a"}
    endless = {"anyOf": [again, again], "oneOf": [again, again], "allOf": [again, again]}
    tool = Tool.from_schema("f", "", {"properties": {"x": again}, "$defs": {"a": endless}}, print)
    assert tool.read({"x": "[1]"}) == {"x": "[1]"}


@pytest.mark.parametrize(
    ("described", "kinds"),
    [
        ({}, schema.KINDS),
        (True, schema.KINDS),
        (False, set()),
        ({"type": "string"}, {"string"}),
        ({"type": "number"}, {"integer", "number"}),
        ({"type": ["array", "null"]}, {"array", "null"}),
        ({"$ref": "#/$defs/list"}, {"array"}),
        ({"oneOf": [{"$ref": "#/$defs/list"}, {"type": "null"}]}, {"array", "null"}),
        ({"allOf": [{"$ref": "#/$defs/list"}, {"description": "a list"}]}, {"array"}),
        ({"allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"type": "number"}]}, {"integer"}),
        ({"anyOf": [{"enum": ["a", None]}, {"const": True}]}, {"string", "null", "boolean"}),
    ],
)
def test_the_types_that_a_schema_admits(described, kinds):
    assert schema.kinds(described, {"$defs": {"list": {"type": "array"}}}) == kinds
