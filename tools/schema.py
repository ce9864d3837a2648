"""JSON schemas: what is wrong with a value, in words that a model can act on.

Covers the part of JSON Schema that describes tools: types, properties, items, enumerations, bounds,
alternatives and references within the schema. Other keywords are ignored: the author of the tool checks them
as well. `jsonschema` is not a dependency of the core, and its messages are written for programmers.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("a text", lambda value: isinstance(value, str)),
    "integer": ("an integer", lambda value: _is_number(value) and float(value).is_integer()),
    "number": ("a number", lambda value: _is_number(value)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "object": ("an object", lambda value: isinstance(value, Mapping)),
    "null": ("null", lambda value: value is None),
}
_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("at least {}", lambda value, bound: value >= bound),
    "maximum": ("at most {}", lambda value, bound: value <= bound),
    "exclusiveMinimum": ("above {}", lambda value, bound: value > bound),
    "exclusiveMaximum": ("below {}", lambda value, bound: value < bound),
}
_LENGTHS: dict[type, tuple[str, str, str]] = {
    str: ("minLength", "maxLength", "characters"),
    list: ("minItems", "maxItems", "items"),
}
MOST = 10
"""How many complaints are given at once; a list of thousands of items can have as many."""
_DEEPEST = 100
"""How deep nested schemas are followed; one can refer to itself without end."""


def complaints(value: Any, schema: Any, place: str = "", root: Any = None, depth: int = 0) -> list[str]:
    """What is wrong with `value`; empty if it fits. `place` is its position, such as `stops.0`."""
    root = schema if root is None else root
    schema = _followed(schema, root)
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return []
    at = place or "arguments"
    if "const" in schema or "enum" in schema:
        choices = schema.get("enum", [schema.get("const")])
        fits = any(_equal(value, choice) for choice in choices)
        return [] if fits else [f"{at}: {not_one_of(value, choices)}"]
    for alternatives in ("anyOf", "oneOf"):
        if alternatives in schema:
            found = [complaints(value, option, place, root, depth + 1) for option in schema[alternatives]]
            if found and all(found):
                wanted = list(dict.fromkeys(_wanted(option, root) for option in schema[alternatives]))
                # The closest alternative says what to fix; if none has the right type, list them all.
                typed = [
                    reasons
                    for reasons, s in zip(found, schema[alternatives], strict=True)
                    if _typed(value, s, root)
                ]
                return typed[0] if typed else [f"{at}: must be {' or '.join(wanted)}, not {shown(value)}"]
    for option in schema.get("allOf", ()):
        if wrong := complaints(value, option, place, root, depth + 1):
            return wrong
    if not _typed(value, schema, root):
        return [f"{at}: must be {_wanted(schema, root)}, not {shown(value)}"]
    if isinstance(value, Mapping):
        return _object(value, schema, place, root, depth)
    if isinstance(value, list):
        items = schema.get("items", True)
        inner = [complaints(item, items, f"{at}.{n}", root, depth + 1) for n, item in enumerate(value)]
        return [*_length(value, schema, at), *(wrong for found in inner for wrong in found)]
    if isinstance(value, str):
        return _text(value, schema, at)
    if _is_number(value):
        return [
            f"{at}: must be {words.format(schema[key])}, not {shown(value)}"
            for key, (words, holds) in _BOUNDS.items()
            if _is_number(schema.get(key)) and not holds(value, schema[key])
        ]
    return []


def joined(complaints: Sequence[str], count: int) -> str:
    """The first `MOST` complaints of `count`, as one text."""
    more = f"; and {count - MOST} more" if count > MOST else ""
    return "; ".join(complaints[:MOST]) + more


def missing(name: str) -> str:
    return f"the argument {name!r} is missing"


def unknown(name: str, known: Iterable[str]) -> str:
    """A message that there is no such argument, and which one may be meant."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"there is no argument {shown(name)}; did you mean {near[0]!r}?"
    return f"there is no argument {shown(name)}; there are: {', '.join(names) or 'none'}"


def not_one_of(value: Any, choices: Iterable[Any]) -> str:
    """A message that a value is not among the choices, and which one may be meant."""
    listed = list(choices)
    texts = [choice for choice in listed if isinstance(choice, str)]
    near = difflib.get_close_matches(value[:100], texts, n=1) if isinstance(value, str) else []
    wanted = ", ".join(repr(choice) if isinstance(choice, str) else _json(choice) for choice in listed)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"must be {'one of ' if len(listed) > 1 else ''}{wanted}, not {shown(value)}{guess}"


def shown(value: Any) -> str:
    """A value as a model would write it, cut after 60 characters."""
    text = repr(value) if isinstance(value, str) else _json(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=repr)
    except (
        RecursionError,
        TypeError,
        ValueError,
    ):  # a number with thousands of digits, or a list that contains itself
        return f"something of the type {type(value).__name__} that is no JSON"


def _object(
    value: Mapping[str, Any], schema: Mapping[str, Any], place: str, root: Any, depth: int
) -> list[str]:
    properties = schema.get("properties", {})
    inside = f"{place}." if place else ""
    wrong = [missing(inside + name) for name in schema.get("required", ()) if name not in value]
    others = schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in properties:
            wrong += complaints(item, properties[name], inside + name, root, depth + 1)
        elif others is False:
            wrong.append(unknown(inside + name, [inside + known for known in properties]))
        else:
            wrong += complaints(item, others, inside + name, root, depth + 1)
    return wrong


def _text(value: str, schema: Mapping[str, Any], at: str) -> list[str]:
    wrong = _length(value, schema, at)
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and not _matches(pattern, value):
        wrong.append(f"{at}: must match {pattern}, not {shown(value)}")
    return wrong


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value[:10_000]) is not None
    except re.error:  # a pattern in a dialect other than Python's
        return True


def _length(value: Any, schema: Mapping[str, Any], at: str) -> list[str]:
    least, most, what = _LENGTHS[type(value)]
    if len(value) < schema.get(least, 0):
        return [f"{at}: must have at least {schema[least]} {what}, not {len(value)}"]
    if len(value) > schema.get(most, len(value)):
        return [f"{at}: must have at most {schema[most]} {what}, not {len(value)}"]
    return []


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _typed(value: Any, schema: Any, root: Any) -> bool:
    schema = _followed(schema, root)
    kinds = [kind for kind in _kinds(schema) if kind in _TYPES] if isinstance(schema, Mapping) else []
    return not kinds or any(_TYPES[kind][1](value) for kind in kinds)


def _wanted(schema: Any, root: Any) -> str:
    schema = _followed(schema, root)
    if not isinstance(schema, Mapping):
        return "anything"
    if "const" in schema or "enum" in schema:
        return " or ".join(map(shown, schema.get("enum", [schema.get("const")])))
    return " or ".join(_TYPES[kind][0] for kind in _kinds(schema) if kind in _TYPES) or "of another form"


def _followed(schema: Any, root: Any) -> Any:
    """What a reference such as `#/$defs/Stop` stands for; one that leads elsewhere accepts anything."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            return schema
        reference = schema["$ref"]
        schema = root if isinstance(reference, str) and reference.startswith("#") else None
        for part in str(reference)[2:].split("/") if schema is not None and reference != "#" else ():
            schema = (
                schema.get(part.replace("~1", "/").replace("~0", "~"))
                if isinstance(schema, Mapping)
                else None
            )
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _equal(value: Any, other: Any) -> bool:
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)
