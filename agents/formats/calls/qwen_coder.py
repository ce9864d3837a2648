"""Qwen's coder models: `<function=NAME>`, and `<parameter=KEY>` around each argument, whose type is not
written."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ludus.agents.formats.calls.reply import (
    MAX_MALFORMED,
    Call,
    CallFormat,
    ParsedReply,
    around,
    read_json,
    write_json,
)
from ludus.tools import schema

_OPEN = re.compile(r"(?:<tool_call>\s*)?<function=").search
_NAME = re.compile(r"([^<>\n]{1,200})>\s*").match
_PARAMETER = re.compile(r"<parameter=([^<>\n]{1,200})>\n?").match
_VALUE_END = re.compile(r"\n?(</parameter>\s*)?(?=<parameter=|</function>)").search
_CLOSE = re.compile(r"</function>(?:\s*</tool_call>)?").match
_END = re.compile(r"(?=<function=|<tool_call>\s*<function=)|</function>(?:\s*</tool_call>)?").search
_WORDS = {"true": True, "True": True, "false": False, "False": False}


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    """An argument extends to its closing tag before the next argument or the end of the call, so its text may
    contain tags. It is text, unless the tool's schema has another type that it can be read as."""
    pieces, calls = [], []
    done, errors = 0, 0
    while opened := _OPEN(text, done):
        pieces.append(text[done : opened.start()])
        named = _NAME(text, opened.end())
        read = _arguments(text, named.end()) if named and errors < MAX_MALFORMED else None
        if named and read:
            parameters = _parameters(named[1].strip(), tools)
            arguments = {key: _typed(value, key, parameters) for key, value in read[0].items()}
            calls.append(Call(named[1].strip(), arguments))
            done = read[1]
        else:
            errors += 1
            inside = named.end() if named else opened.end()
            ended = _END(text, inside) if errors <= MAX_MALFORMED else None
            raw = text[inside : ended.start() if ended else len(text)].strip()
            calls.append(Call(named[1].strip() if named else "", _object(raw)))
            done = ended.end() if ended else len(text)
    return ParsedReply(around([*pieces, text[done:]]), tuple(calls))


def render(calls: Sequence[Call]) -> str:
    """A text argument is written verbatim: the format has no escapes, so a text with `</parameter>` before
    another tag of the format cannot be read back."""
    return "\n".join(map(_render_one, calls))


def _render_one(call: Call) -> str:
    if isinstance(call.arguments, str):
        inside = call.arguments + "\n"
    else:
        inside = "".join(
            f"<parameter={key}>\n{value if isinstance(value, str) else write_json(value)}\n</parameter>\n"
            for key, value in call.arguments.items()
        )
    return f"<tool_call>\n<function={call.name}>\n{inside}</function>\n</tool_call>"


def _arguments(text: str, at: int) -> tuple[dict[str, str], int] | None:
    """The arguments as text, and the position after the call; None where it is malformed."""
    read: dict[str, str] = {}
    while not (closed := _CLOSE(text, at)):
        opened = _PARAMETER(text, at)
        ended = _VALUE_END(text, opened.end()) if opened else None
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
    """The text in place of parameters: some models write a JSON object there."""
    try:
        read = read_json(raw)
    except ValueError:
        return raw
    return read if isinstance(read, dict) else raw


QWEN_CODER = CallFormat("qwen_coder", parse, render)
