import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from ludus.tools.sandbox.reports import called_values, reported_files
from ludus.tools.sandbox.result import Value

_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_lines = st.lists(st.binary(max_size=40) | _json.map(lambda value: json.dumps(value).encode()), max_size=6)


@given(_lines, st.integers(0, 4))
def test_any_bytes_are_read(lines, count):
    report = b"\n".join(lines)
    assert len(called_values(report, count)) <= count
    assert reported_files(report, ["a"], 10).keys() <= {"a"}


@given(st.lists(_json.filter(lambda value: value == value), max_size=4))
def test_values_arrive_as_they_were_sent(values):
    report = b"".join(json.dumps({"value": value}).encode() + b"\n" for value in values)
    assert json.dumps([value.value for value in called_values(report, 9)]) == json.dumps(values)


def test_what_is_no_result_is_an_error_in_its_place():
    report = b'{"value": 1}\n[]\n{"error": 3}\n{"error": "E"}\n' + b"[" * 100_000 + b'\n{"value": 2}\nhalf'
    expected = [Value(1), Value(error="not a result"), Value(error="not a result"), Value(error="E")]
    assert called_values(report, 9) == [*expected, Value(error="not a result"), Value(2)]


def test_errors_can_be_printed():
    (value,) = called_values(b'{"error": "half \\ud800"}\n', 1)
    assert value == Value(error="half ?")


def test_files_are_bounded_and_only_those_asked_for():
    def said(name, data):
        return json.dumps({"name": name, "data": base64.b64encode(data).decode()}).encode() + b"\n"

    report = said("a", b"1") + said("b", b"2") + said("big", b"x" * 11) + b'{"name": "c", "data": "*"}\n'
    assert reported_files(report, ["a", "big", "c"], 10) == {"a": b"1"}
