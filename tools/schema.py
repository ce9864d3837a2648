"""JSON schemas: what is wrong with a value, in words on which a model can act.

Covers the parts of JSON Schema that describe tools: types, properties, items, enumerations, bounds,
alternatives and references within the schema. Other keywords are ignored, since the author of the tool checks
them too. `jsonschema` is not a dependency of the core, and its messages are written for programmers.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("a text", lambda value: isinstance(value, str)),
    "integer": ("an integer", lambda value: _is_number(value) and value == value // 1),
    "number": ("a number", lambda value: _is_number(value)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "object": ("an object", lambda value: isinstance(value, Mapping)),
    "null": ("null", lambda value: value is None),
}
KINDS = frozenset(_TYPES)
"""All JSON types."""
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
"""How many complaints are reported at once; a list of thousands of items can have as many."""
_DEEPEST = 100
"""How deep nested schemas are followed; a schema can refer to itself forever."""


def complaints(
    value: Any,
    schema: Any,
    place: str = "",
    root: Any = None,
    depth: int = 0,
    begun: frozenset[int] = frozenset(),
) -> list[str]:
    """What is wrong with `value`; empty if it fits. `place` is its position, such as `stops.0`. `begun` holds
    the schemas with which this value is already being compared: one that leads back to itself adds nothing.
    """
    root = schema if root is None else root
    schema = _followed(schema, root)
    at = place or "arguments"
    if schema is False:
        return [f"{at}: must not be given"]
    if not isinstance(schema, Mapping) or depth > _DEEPEST or id(schema) in begun:
        return []
    begun |= {id(schema)}
    choices = _choices(schema)
    if choices is not None:
        fits = any(_equal(value, choice) for choice in choices)
        return [] if fits else [f"{at}: {not_one_of(value, choices)}"]
    for alternatives in ("anyOf", "oneOf"):
        options = _keyword(schema, alternatives, list, [])
        found = [complaints(value, option, place, root, depth + 1, begun) for option in options]
        if found and all(found):
            wanted = list(dict.fromkeys(_wanted(option, root) for option in options))
            # The closest alternative says what to fix; if none has the right type, all are listed.
            typed = [
                reasons for reasons, option in zip(found, options, strict=True) if _typed(value, option, root)
            ]
            return typed[0] if typed else [f"{at}: must be {' or '.join(wanted)}, not {shown(value)}"]
    for option in _keyword(schema, "allOf", list, []):
        if wrong := complaints(value, option, place, root, depth + 1, begun):
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


def kinds(schema: Any, root: Any, begun: frozenset[int] = frozenset()) -> frozenset[str]:
    """The JSON types that a schema admits, through references and alternatives; all types if it names none.
    `root` is the schema in which references are looked up.
    """
    schema = _followed(schema, root)
    if schema is False:
        return frozenset()
    if not isinstance(schema, Mapping) or id(schema) in begun:
        return KINDS
    begun |= {id(schema)}
    choices = _choices(schema)
    if choices is not None:
        admitted = frozenset(k for k in KINDS if any(_TYPES[k][1](choice) for choice in choices))
    else:
        named = frozenset(_named(schema))
        admitted = (named | {"integer"} if "number" in named else named) or KINDS
    for alternatives in ("anyOf", "oneOf"):
        if options := _keyword(schema, alternatives, list, []):
            admitted &= frozenset().union(*(kinds(option, root, begun) for option in options))
    for option in _keyword(schema, "allOf", list, []):
        admitted &= kinds(option, root, begun)
    return admitted


def unpacked(value: Any, schema: Any, root: Any, depth: int = 0) -> Any:
    """The value, with lists and objects in place of their JSON texts (`"[1, 2]"`).

    Models often write them so. A text stays as it is where the schema admits texts.
    """
    schema = _followed(schema, root)
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return value
    if isinstance(value, str):
        read = _read(value)
        if read is None or {"string", _kind(read)} & kinds(schema, root) != {_kind(read)}:
            return value
        value = read
    options = [
        option
        for key in ("anyOf", "oneOf", "allOf")
        for option in _keyword(schema, key, list, [])
        if _kind(value) in kinds(option, root)
    ]
    for option in options if isinstance(value, list | Mapping) else ():
        value = unpacked(value, option, root, depth + 1)
    if isinstance(value, list) and "items" in schema:
        return [unpacked(item, schema["items"], root, depth + 1) for item in value]
    properties = _keyword(schema, "properties", Mapping, {})
    if isinstance(value, Mapping) and properties:
        return {name: unpacked(item, properties.get(name), root, depth + 1) for name, item in value.items()}
    return value


def joined(complaints: Sequence[str], count: int) -> str:
    """The first `MOST` complaints of `count`, as one text."""
    more = f"; and {count - MOST} more" if count > MOST else ""
    return "; ".join(complaints[:MOST]) + more


def missing(name: str) -> str:
    return f"the argument {name!r} is missing"


def unknown(name: str, known: Iterable[str]) -> str:
    """A message that there is no such argument, and which was probably meant."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"there is no argument {shown(name)}; did you mean {near[0]!r}?"
    return f"there is no argument {shown(name)}; there are: {', '.join(names) or 'none'}"


def not_one_of(value: Any, choices: Iterable[Any]) -> str:
    """A message that a value is not among the choices, and which was probably meant."""
    listed = list(choices)
    texts = [choice for choice in listed if isinstance(choice, str)]
    near = difflib.get_close_matches(value[:100], texts, n=1) if isinstance(value, str) else []
    wanted = ", ".join(repr(choice) if isinstance(choice, str) else _json(choice) for choice in listed)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"must be {'one of ' if len(listed) > 1 else ''}{wanted}, not {shown(value)}{guess}"


def shown(value: Any) -> str:
    """A value as a model would write it, truncated to 60 characters."""
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
    properties = _keyword(schema, "properties", Mapping, {})
    inside = f"{place}." if place else ""
    required = [name for name in _keyword(schema, "required", list, []) if isinstance(name, str)]
    wrong = [missing(inside + name) for name in required if name not in value]
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
    if len(value) < _keyword(schema, least, int, 0):
        return [f"{at}: must have at least {schema[least]} {what}, not {len(value)}"]
    if len(value) > _keyword(schema, most, int, len(value)):
        return [f"{at}: must have at most {schema[most]} {what}, not {len(value)}"]
    return []


def _keyword(schema: Mapping[str, Any], name: str, kind: type, otherwise: Any) -> Any:
    """A schema's value for a keyword; `otherwise` if it is missing or of the wrong kind."""
    found = schema.get(name)
    return found if isinstance(found, kind) else otherwise


def _choices(schema: Mapping[str, Any]) -> list[Any] | None:
    """The only values that a schema admits, if it lists them."""
    return [schema["const"]] if "const" in schema else _keyword(schema, "enum", list, None)


def _named(schema: Mapping[str, Any]) -> list[str]:
    named = schema.get("type", [])
    listed = named if isinstance(named, list) else [named]
    return [kind for kind in listed if isinstance(kind, str) and kind in _TYPES]


def _kind(value: Any) -> str | None:
    """The JSON type of a list or an object."""
    return "array" if isinstance(value, list) else "object" if isinstance(value, Mapping) else None


def _read(text: str) -> Any:
    """The list or object that a JSON text describes; None for any other text, and for what cannot be passed
    on."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):  # rejects half a surrogate pair and NaN, too
        return None
    return value


def _typed(value: Any, schema: Any, root: Any) -> bool:
    schema = _followed(schema, root)
    named = _named(schema) if isinstance(schema, Mapping) else []
    return not named or any(_TYPES[kind][1](value) for kind in named)


def _wanted(schema: Any, root: Any) -> str:
    schema = _followed(schema, root)
    if not isinstance(schema, Mapping):
        return "anything"
    choices = _choices(schema)
    if choices is not None:
        return " or ".join(map(shown, choices))
    return " or ".join(_TYPES[kind][0] for kind in _named(schema)) or "of another form"


def _followed(schema: Any, root: Any) -> Any:
    """The schema behind a reference such as `#/$defs/Stop`; a reference to elsewhere accepts anything."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            return schema
        reference = schema["$ref"]
        schema = root if isinstance(reference, str) and reference.startswith("#") else None
        for part in str(reference)[2:].split("/") if schema is not None and reference != "#" else ():
            schema = _inside(schema, part.replace("~1", "/").replace("~0", "~"))
    return None


def _inside(schema: Any, part: str) -> Any:
    if isinstance(schema, list):
        return schema[int(part)] if part.isdecimal() and int(part) < len(schema) else None
    return schema.get(part) if isinstance(schema, Mapping) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _equal(value: Any, other: Any) -> bool:
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)
