"""OpenAI's JSON as text: `{"tool_calls": [{"id": …, "type": "function", "function": {…}}]}`, the list
alone, or one call alone, also in a code fence."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.json_calls import call_of, malformed, openai, read_list
from ludus.agents.formats.calls.reply import (
    MAX_MALFORMED,
    Call,
    CallFormat,
    ParsedReply,
    around,
    scan_json,
    write_json,
)

_START = re.compile(
    r'^[ \t]*(?:```(?:json|tool_calls?)?[ \t]*\n\s*)?(?=[\[{]\s*[\[{"])', re.MULTILINE
).finditer
_CLOSE = re.compile(r"\s*\}").match
_FENCE = re.compile(r"\s*```").match
_CALLS = re.compile(r'\{\s*"(?:content|tool_calls|role)"\s*:').match
_LIST = re.compile(r'"tool_calls"\s*:\s*(?=\[)').search
_SHAPE = re.compile(r'[\[{]\s*(?:\{\s*)?"(?:name|function|id|type)"\s*:').match
_ARGUMENTS = re.compile(r'"(?:arguments|parameters)"\s*:').search


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    """JSON that begins a line and has the form of calls."""
    tried = 0
    for found in _START(text):
        if tried == MAX_MALFORMED:
            break
        tried += 1
        read = _calls(text, found.end())
        if read is None:
            continue
        calls, content, end = read
        if "```" in found[0] and (fence := _FENCE(text, end)):
            end = fence.end()
        return ParsedReply(around([text[: found.start()], content, text[end:]]), tuple(calls))
    return ParsedReply(text)


def render(calls: Sequence[Call]) -> str:
    listed = [openai(call, position) for position, call in enumerate(calls)]
    return write_json({"tool_calls": listed}) if listed else ""


def _calls(text: str, at: int) -> tuple[list[Call], str, int] | None:
    """The calls that begin at `at`, the text that belongs to them, and the position after them; None if there
    are none."""
    whole = scan_json(text, at)
    if whole is not None:
        value, end = whole
        content = value.get("content") if isinstance(value, dict) else None
        listed = value.get("tool_calls") if isinstance(value, dict) else value
        if isinstance(value, dict) and listed is None:
            listed = [value]
        if not isinstance(listed, list) or not listed or not all(map(_is_call, listed)):
            return None
        calls = [call_of(entry) for entry in listed]
        return calls, content if isinstance(content, str) else "", end
    if _CALLS(text, at) and (opened := _LIST(text, at)):
        calls, end = read_list(text, opened.end())
        closed = _CLOSE(text, end)
        return (calls, "", closed.end() if closed else end) if calls else None
    if _SHAPE(text, at) and _ARGUMENTS(text, at):
        if text[at] == "[":
            calls, end = read_list(text, at)
            return calls, "", end
        return [malformed(text[at:].strip())], "", len(text)
    return None


def _is_call(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    function = value["function"] if isinstance(value.get("function"), dict) else value
    return "name" in function and ("arguments" in function or "parameters" in function)


OPENAI = CallFormat("openai", parse, render, marks=("[", "{", "```"))
