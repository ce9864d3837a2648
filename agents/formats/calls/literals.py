"""Calls in Python's notation, `f(x=-1, y={"a": [1]})`, read by a dedicated scanner.

Values are literals: strings, numbers, lists, tuples (read as lists), dictionaries with text keys, and the
constants of Python and JSON (`True`, `true`, `None`, `null`). Nothing is evaluated. `ast` would refuse
arguments named like keywords (`from="Lomar"`) and cannot say where a call ends; in Python 3.11 it raises
SystemError when several threads use it (CPython issue 106905).
"""

import re
from collections.abc import Mapping
from typing import Any

from ludus.agents.formats.calls.reply import MAX_DEPTH, Call, finite, whole_characters, write_json

NAME = r"[A-Za-z_][A-Za-z0-9_.\-]*"
"""The name of a tool."""

_NAME = re.compile(NAME)
_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=")
_SIMPLE = re.compile(
    r'([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?:"([^"\\]*)"(?!")|(-?[0-9]{1,18})|(True|true|False|false|None|null))\s*([,)])'
).match
"""A whole argument of the most common kinds, matched at once."""
_SKIP = re.compile(r"\s*").match
_ATOM = re.compile(r"[+-]?(?:[0-9]+(\.[0-9]*)?|(\.[0-9]+))([eE][+-]?[0-9]+)?|[A-Za-z_]\w*").match
_WORDS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
_STRINGS = {
    '"': re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL).match,
    "'": re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)'", re.DOTALL).match,
    '"""': re.compile(r'"""([^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*)"""', re.DOTALL).match,
    "'''": re.compile(r"'''([^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*)'''", re.DOTALL).match,
}
_ESCAPE = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))", re.DOTALL
)
_ESCAPED = {
    "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "\n": "",
}  # fmt: skip


class Malformed(ValueError):
    """The text is not a literal, or not a call."""


def read_call(text: str) -> Call:
    """The call that a text consists of; a malformed one has the text after its name as its arguments."""
    text = text.strip()
    named = _NAME.match(text)
    if named is None:
        return Call("", text)
    name, rest = named[0], text[named.end() :]
    try:
        arguments, end = read_arguments(text, named.end())
    except Malformed:
        return Call(name, rest or text)
    return Call(name, arguments if end == len(text) else rest)


def read_arguments(text: str, at: int) -> tuple[dict[str, Any], int]:
    """Keyword arguments in brackets that open at `at`, and the position after them.

    Raises:
        Malformed: there are none, or they do not end.
    """
    at = _SKIP(text, at).end()  # type: ignore[union-attr]
    if text[at : at + 1] != "(":
        raise Malformed("no arguments in brackets")
    read: dict[str, Any] = {}
    at = _next(text, at + 1)
    while text[at] != ")":
        if simple := _SIMPLE(text, at):
            key, string, whole, word, separator = simple.groups()
            if key in read:
                raise Malformed("an argument twice")
            read[key] = string if string is not None else _WORDS[word] if word else int(whole)
            if separator == ")":
                return read, simple.end()
            at = _next(text, simple.end())
            continue
        if named := _KEY.match(text, at):
            value, at = read_value(text, named.end())
            added = {named[1]: value}
        elif text.startswith("**", at):
            added, at = read_value(text, at + 2)
            if not isinstance(added, dict):
                raise Malformed("** wants a dictionary")
        else:
            raise Malformed("an argument without a name")
        if not read.keys().isdisjoint(added):
            raise Malformed("an argument twice")
        read.update(added)
        at = _separated(text, at, ")")
    return read, at + 1


def read_value(text: str, at: int, depth: int = 0) -> tuple[Any, int]:
    """The literal at `at`, and the position after it.

    Raises:
        Malformed: no value begins there, or it is nested too deeply.
    """
    at = _next(text, at)
    char = text[at]
    if char in "\"'":
        return _string(text, at, char)
    if depth == MAX_DEPTH:
        raise Malformed("nested too deeply")
    if char == "[" or char == "(":
        return _list(text, at + 1, "]" if char == "[" else ")", depth)
    if char == "{":
        return _dictionary(text, at + 1, depth)
    atom = _ATOM(text, at)
    if atom is None:
        raise Malformed(f"{char!r} begins no value")
    word = atom[0]
    if char.isalpha() or char == "_":
        if word not in _WORDS:
            raise Malformed(f"{word} is not a value; a text stands in quotes")
        return _WORDS[word], atom.end()
    try:
        whole = atom[1] is None and atom[2] is None and atom[3] is None
        return (int(word) if whole else finite(word)), atom.end()
    except ValueError as error:
        raise Malformed(str(error)) from None


def write_call(call: Call) -> str:
    """A call as `name(key=value, …)`, values as JSON. Keys that are not identifiers go into `**{…}`."""
    if isinstance(call.arguments, str):
        return call.name + call.arguments
    plain = [f"{key}={write_json(value)}" for key, value in call.arguments.items() if _plain(key)]
    odd = {key: value for key, value in call.arguments.items() if not _plain(key)}
    return f"{call.name}({', '.join([*plain, f'**{write_json(odd)}'] if odd else plain)})"


def signature(tool: Mapping[str, Any]) -> str:
    """A tool in OpenAI's form in one line: `forecast(place: string, day?: integer)`."""
    function = tool["function"]
    parameters = function.get("parameters") or {}
    required = parameters.get("required", ())
    arguments = [
        f"{name}{'' if name in required else '?'}: {_kind(schema)}"
        for name, schema in parameters.get("properties", {}).items()
    ]
    return f"{function['name']}({', '.join(arguments)})"


def _kind(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return write_json(schema["const"])
    if "enum" in schema:
        return "|".join(map(write_json, schema["enum"]))
    if "anyOf" in schema:
        return "|".join(map(_kind, schema["anyOf"]))
    kind = schema.get("type", "any")
    return kind if isinstance(kind, str) else "|".join(kind)


def _plain(key: str) -> bool:
    return key.isascii() and key.isidentifier()


def _next(text: str, at: int) -> int:
    """The next position that is not white space."""
    at = _SKIP(text, at).end()  # type: ignore[union-attr]
    if at == len(text):
        raise Malformed("it does not end")
    return at


def _separated(text: str, at: int, closing: str) -> int:
    """The position of the next item or of the closing bracket, after a comma if there is one."""
    at = _next(text, at)
    if text[at] == ",":
        return _next(text, at + 1)
    if text[at] != closing:
        raise Malformed(f"{text[at]!r} instead of a comma or {closing}")
    return at


def _list(text: str, at: int, closing: str, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    at = _next(text, at)
    while text[at] != closing:
        item, at = read_value(text, at, depth + 1)
        items.append(item)
        at = _separated(text, at, closing)
    return items, at + 1


def _dictionary(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    items: dict[str, Any] = {}
    at = _next(text, at)
    while text[at] != "}":
        if text[at] not in "\"'":
            raise Malformed("a key that is not a text")
        key, at = _string(text, at, text[at])
        at = _next(text, at)
        if text[at] != ":":
            raise Malformed("a key without a value")
        items[key], at = read_value(text, at + 1, depth + 1)
        at = _separated(text, at, "}")
    return items, at + 1


def _string(text: str, at: int, quote: str) -> tuple[str, int]:
    if text.startswith(quote * 3, at):
        quote *= 3
    found = _STRINGS[quote](text, at)
    if found is None:
        raise Malformed("a text that does not end")
    inner = found[1]
    if "\\" in inner:
        inner = whole_characters(_ESCAPE.sub(_unescape, inner))
    return inner, found.end()


def _unescape(escape: re.Match[str]) -> str:
    short, long, byte, octal, char = escape.groups()
    if char is not None:
        return _ESCAPED.get(char, "\\" + char)
    try:
        return chr(int(octal, 8) if octal else int(short or long or byte, 16))
    except ValueError:
        raise Malformed(f"{escape[0]} is not a character") from None
