"""Calls as JSON objects, `{"name": …, "arguments": {…}}`, which several formats wrap in their own way.

JSON is read strictly: near-JSON (single quotes, trailing commas) is a malformed call, here as in the servers
that models are deployed on.
"""

import re
from collections.abc import Mapping
from typing import Any

from ludus.agents.formats.calls.literals import NAME
from ludus.agents.formats.calls.reply import MAX_MALFORMED, Call, read_json, scan_json, write_json

_NAME = re.compile(r"""["']?name["']?\s*:\s*["']([^"'\\\n]{1,200})["']""").search
_FUNCTION = re.compile(rf"({NAME})\s*\(").match
_HEAD = re.compile(r'\{\s*"(?:name|id|type|function|tool_call_id|tool_name)"\s*:').finditer
_COMMA = re.compile(r"\s*,?\s*").match
_SPACE = re.compile(r"\s*").match


def call_of(value: Any, raw: str | None = None) -> Call:
    """The call in a JSON value, which was written as `raw`: `name` (or `tool_name`) and `arguments` (or
    `parameters`), possibly inside `function`."""
    if not isinstance(value, dict):
        return Call("", write_json(value) if raw is None else raw)
    id = value.get("id") or value.get("tool_call_id")
    function = value["function"] if isinstance(value.get("function"), dict) else value
    name = function.get("name", function.get("tool_name"))
    if not isinstance(name, str):
        return Call("", write_json(value) if raw is None else raw)
    arguments = function.get("arguments", function.get("parameters", {}))
    return Call(name, _arguments(arguments), id if isinstance(id, str) else "")


def malformed(raw: str) -> Call:
    """A call that is not JSON, with the name that it seems to have."""
    named = _NAME(raw) or _FUNCTION(raw)
    return Call(named[1] if named else "", raw)


def read_object(text: str, at: int) -> tuple[Call, int] | None:
    """The call that begins at `at`, and the position after it; None if there is no JSON."""
    found = scan_json(text, at)
    return None if found is None else (call_of(found[0], text[at : found[1]]), found[1])


def next_object(text: str, at: int) -> int:
    """Where the next call seems to begin, after a bracket, a semicolon or a line break; -1 if there is
    none."""
    for head in _HEAD(text, at):
        before = text[max(at, head.start() - 80) : head.start()].rstrip(" \t,")
        if before and before[-1] in "};\n\r":
            return head.start()
    return -1


def read_list(text: str, at: int) -> tuple[list[Call], int]:
    """The calls of a malformed JSON list that opens at `at`, and the position after it. A malformed call
    extends to where the next one seems to begin, or to the end of the text."""
    calls: list[Call] = []
    errors = 0
    at = _SPACE(text, at + 1).end()  # type: ignore[union-attr]
    while at < len(text) and text[at] != "]":
        read = read_object(text, at) if errors < MAX_MALFORMED else None
        if read is not None:
            call, at = read
            errors += isinstance(call.arguments, str)
        else:
            errors += 1
            following = next_object(text, at) if errors < MAX_MALFORMED else -1
            end = following if following >= 0 else len(text)
            call, at = malformed(text[at:end].strip(" \t\r\n,")), end
        calls.append(call)
        at = _COMMA(text, at).end()  # type: ignore[union-attr]
    return calls, min(at + 1, len(text))


def plain(call: Call) -> dict[str, Any]:
    """A call as a JSON value, `name` and `arguments`."""
    return {"name": call.name, "arguments": call.arguments}


def openai(call: Call, position: int) -> dict[str, Any]:
    """A call in the form of OpenAI's interface, its arguments as text."""
    text = call.arguments if isinstance(call.arguments, str) else write_json(call.arguments)
    function = {"name": call.name, "arguments": text}
    return {"id": call.id or f"call_{position}", "type": "function", "function": function}


def _arguments(arguments: Any) -> Mapping[str, Any] | str:
    if isinstance(arguments, dict):
        return arguments
    if not isinstance(arguments, str):
        return {} if arguments is None else write_json(arguments)
    try:
        read = read_json(arguments) if arguments.strip() else {}
    except ValueError:
        return arguments
    return read if isinstance(read, dict) else arguments
