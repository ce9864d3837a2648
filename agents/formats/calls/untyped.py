"""Calls whose arguments stand between tags, one by one, without their types: those of Qwen's coder models,
GLM and MiniMax."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ludus.agents.formats.calls.reply import MAX_MALFORMED, Call, ParsedReply, around, read_json, write_json
from ludus.tools import schema

_WORDS = {"true": True, "True": True, "false": False, "False": False}
Matcher = Callable[..., re.Match[str] | None]


@dataclass(frozen=True)
class Tags:
    """The tags of a format, as functions of a text and a position in it."""

    open: Matcher
    """Finds where a call begins."""
    name: Matcher
    """Matches the name there, its only group."""
    key: Matcher
    """Matches what stands before a value; its only group is the argument's name."""
    value_end: Matcher
    """Finds where a value ends."""
    close: Matcher
    """Matches what closes a call."""
    end: Matcher
    """Finds where a malformed call ends: at what closes it, or before the next one."""


def read_tagged(text: str, tools: Sequence[Any], tags: Tags) -> ParsedReply:
    """An argument extends to its closing tag before the next argument or the end of the call, so its text may
    contain tags. It is text, unless the tool's schema has another type that it can be read as."""
    pieces, calls = [], []
    done, errors = 0, 0
    while opened := tags.open(text, done):
        pieces.append(text[done : opened.start()])
        named = tags.name(text, opened.end())
        read = _arguments(text, named.end(), tags) if named and errors < MAX_MALFORMED else None
        if named and read:
            parameters = _parameters(named[1].strip(), tools)
            arguments = {key: _typed(value, key, parameters) for key, value in read[0].items()}
            calls.append(Call(named[1].strip(), arguments))
            done = read[1]
        else:
            errors += 1
            inside = named.end() if named else opened.end()
            ended = tags.end(text, inside) if errors <= MAX_MALFORMED else None
            raw = text[inside : ended.start() if ended else len(text)].strip()
            calls.append(Call(named[1].strip() if named else "", _object(raw)))
            done = ended.end() if ended else len(text)
    return ParsedReply(around([*pieces, text[done:]]), tuple(calls))


def write_tagged(arguments: Mapping[str, Any] | str, form: str) -> str:
    """Every argument in a form with places for `{key}` and `{value}`; those of a malformed call as they are.

    A text is written verbatim: the formats have no escapes, so one that contains the tag that closes a value
    before another tag of the format cannot be read back.
    """
    if isinstance(arguments, str):
        return arguments + "\n"
    return "".join(
        form.format(key=key, value=value if isinstance(value, str) else write_json(value))
        for key, value in arguments.items()
    )


def _arguments(text: str, at: int, tags: Tags) -> tuple[dict[str, str], int] | None:
    """The arguments as text, and the position after the call; None where it is malformed."""
    read: dict[str, str] = {}
    while not (closed := tags.close(text, at)):
        opened = tags.key(text, at)
        ended = tags.value_end(text, opened.end()) if opened else None
        if opened is None or ended is None or opened[1].strip() in read:
            return None
        read[opened[1].strip()] = text[opened.end() : ended.start()]
        at = ended.end()
    return read, closed.end()


def _parameters(name: str, tools: Sequence[Any]) -> Mapping[str, Any]:
    """The schema of a tool's arguments; empty if there is no such tool."""
    for tool in tools:
        if tool["function"]["name"] == name:
            return tool["function"].get("parameters") or {}
    return {}


def _typed(value: str, key: str, parameters: Mapping[str, Any]) -> Any:
    properties = parameters.get("properties")
    if not isinstance(properties, Mapping) or key not in properties:
        return value
    kinds = schema.kinds(properties[key], parameters)
    word = value.strip()
    if kinds != schema.KINDS:
        if "null" in kinds and word in ("null", "None"):
            return None
        if "string" in kinds:
            return value
        if "boolean" in kinds and word in _WORDS:
            return _WORDS[word]
    try:
        return read_json(word)
    except ValueError:
        return value  # which the tool refuses with an error that says what it expects


def _object(raw: str) -> Mapping[str, Any] | str:
    """The text in place of arguments: some models write a JSON object there."""
    try:
        read = read_json(raw)
    except ValueError:
        return raw
    return read if isinstance(read, dict) else raw
