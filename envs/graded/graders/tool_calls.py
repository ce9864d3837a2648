"""`tool_calls`: the answer is calls of functions, as in the Berkeley function-calling leaderboard."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ludus.envs.graded.graders.base import Grade, Grader, shown
from ludus.envs.graded.templates import Sample, TemplateText, value
from ludus.tools.errors import DataError

OPTIONAL = ""
"""Among the accepted values of an argument, this one says that it may be left out."""
_FLOATS = ("float", "number", "double")
_IGNORED = str.maketrans("", "", " ,./-_*^")


@dataclass(frozen=True, slots=True)
class Declared:
    """What a function's description says of its arguments."""

    names: frozenset[str]
    required: frozenset[str]
    floats: frozenset[str]


class ToolCalls(Grader):
    """The calls of the answer are those of the reference, in any order.

    The reference is a list of `{"function": {"argument": [accepted values]}}`. A call is right if it has the
    name, every argument has an accepted value, and no other argument is there; an argument may be left out if
    `""` is among its values. Texts are compared without case, spaces and `,./-_*^`; an integer will do where
    a float is expected, but no number for a text or a truth value; lists in order, tables by key.
    """

    type: Literal["tool_calls"]
    reference: TemplateText
    """A place that holds the list, such as `{{item.ground_truth}}`."""
    functions: TemplateText = ""
    """A place that holds the descriptions of the functions, `{"name": …, "parameters": {"properties": …,
    "required": […]}}`. Then required arguments must be there, no others than declared ones may, and a float
    will do for an integer where a float is declared."""

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        wanted, given = self._wanted(item), sample.output_tools
        if len(wanted) != len(given):
            return Grade(0.0, f"{len(given)} calls, expected {len(wanted)}")
        declared = self._declared(item)
        reasons = [
            [_difference(call, name, one, declared.get(name)) for call in given] for name, one in wanted
        ]
        if matches([[not reason for reason in row] for row in reasons]):
            return Grade(1.0, "the calls are as expected")
        unmatched = next((row for row in reasons if all(row)), reasons[0] if reasons else [""])
        return Grade(0.0, min(unmatched, key=len) or "two expected calls are met by the same call")

    def answer(self, item: Mapping[str, Any]) -> Sample:
        """The calls with the first accepted value of each argument, without what may be left out then."""
        declared = self._declared(item)
        calls = []
        for name, wanted in self._wanted(item):
            one, values = declared.get(name), dict[str, Any]()
            for key, accepted in wanted.items():
                is_required = one is not None and key in one.required
                is_strange = one is not None and key not in one.names and OPTIONAL in accepted
                choices = [choice for choice in accepted if choice != OPTIONAL]
                if choices and not is_strange and (is_required or accepted[0] != OPTIONAL):
                    values[key] = _plain(choices[0])
            calls.append({"name": name, "arguments": values})
        return Sample("", tuple(calls))

    def _wanted(self, item: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
        """
        Raises:
            DataError: the item holds something else.
        """
        found = value(self.reference, item)
        try:
            calls: list[tuple[str, Mapping[str, Any]]] = [
                (name, dict(arguments)) for call in found for name, arguments in call.items()
            ]
            if all(isinstance(accepted, list) for _, one in calls for accepted in one.values()):
                return calls
        except (AttributeError, TypeError, ValueError):
            pass
        raise DataError(
            f"{self.reference} is {shown(repr(found))}: a reference of tool calls is a list of "
            '{"function": {"argument": [accepted values]}}'
        )

    def _declared(self, item: Mapping[str, Any]) -> dict[str, Declared]:
        """Each function's declaration; none without `functions`.

        Raises:
            DataError: the item holds something else.
        """
        described = value(self.functions, item) if self.functions else []
        try:
            return {function["name"]: _read(function["parameters"]) for function in described}
        except (AttributeError, KeyError, TypeError):
            raise DataError(
                f"{self.functions} is {shown(repr(described))}: the functions are a list of "
                '{"name": "f", "parameters": {"properties": {}}}'
            ) from None


def accepts(expected: Any, given: Any, is_float: bool = False) -> bool:
    """Whether a value is the expected one, types included."""
    if isinstance(expected, str):
        return isinstance(given, str) and folded(expected) == folded(given)
    if isinstance(expected, bool) or isinstance(given, bool) or expected is None:
        return type(expected) is type(given) and expected == given
    if isinstance(expected, float) or (is_float and isinstance(expected, int)):
        return isinstance(given, int | float) and expected == given
    if isinstance(expected, list):
        return isinstance(given, list) and len(expected) == len(given) and all(map(accepts, expected, given))
    if isinstance(expected, dict):
        # Within a table, each value is again a list of accepted ones.
        return isinstance(given, dict) and not _of_arguments(given, expected)
    return type(expected) is type(given) and bool(expected == given)


def folded(text: str) -> str:
    """A text without the differences that do not matter."""
    return text.translate(_IGNORED).casefold().replace("'", '"')


def matches(fits: Sequence[Sequence[bool]]) -> bool:
    """Whether every row can have a column of its own that fits (Kuhn's algorithm for bipartite matching)."""
    taken: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column, fit in enumerate(fits[row]):
            if fit and column not in tried:
                tried.add(column)
                if column not in taken or place(taken[column], tried):
                    taken[column] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(fits)))


def _read(parameters: Mapping[str, Any]) -> Declared:
    properties = parameters["properties"]
    floats = (key for key, argument in properties.items() if argument.get("type") in _FLOATS)
    return Declared(frozenset(properties), frozenset(parameters.get("required", ())), frozenset(floats))


def _difference(
    call: Mapping[str, Any], name: str, wanted: Mapping[str, Any], declared: Declared | None
) -> str:
    """What is wrong with a call; empty if nothing is."""
    if call["name"] != name:
        return f"{call['name']} is called, expected {name}"
    given = call["arguments"]
    if declared is not None:
        if missing := sorted(declared.required - given.keys()):
            return f"{missing[0]} is required"
        if strange := [key for key in given if key not in declared.names]:
            return f"{shown(str(strange[0]), 40)} is not declared"
    return _of_arguments(given, wanted, declared.floats if declared else ())


def _of_arguments(given: Mapping[str, Any], wanted: Mapping[str, Any], floats: Collection[str] = ()) -> str:
    for key, accepted in wanted.items():
        choices = accepted if isinstance(accepted, list) else [accepted]
        if key not in given:
            if OPTIONAL not in choices:
                return f"{key} is missing"
        elif not any(accepts(choice, given[key], key in floats) for choice in choices):
            return f"{key} is {shown(repr(given[key]))}, expected {shown(repr(choices))}"
    strange = next((key for key in given if key not in wanted), None)
    return "" if strange is None else f"{shown(str(strange), 40)} is no argument here"


def _plain(value: Any) -> Any:
    """An accepted value; within tables, the first of the accepted ones, without what may be left out."""
    if isinstance(value, dict):
        firsts = {key: one[0] if isinstance(one, list) and one else one for key, one in value.items()}
        return {key: _plain(first) for key, first in firsts.items() if first != OPTIONAL}
    return [_plain(item) for item in value] if isinstance(value, list) else value
