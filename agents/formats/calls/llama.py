"""Llama: `<|python_tag|>` and `{"name": …, "parameters": {…}}`, several separated by `;`; or the JSON
alone."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.json_calls import malformed, next_object, read_object
from ludus.agents.formats.calls.literals import read_call
from ludus.agents.formats.calls.reply import (
    MAX_MALFORMED,
    Call,
    CallFormat,
    ParsedReply,
    around,
    scan_json,
    write_json,
)

TAG = "<|python_tag|>"
_BARE = re.compile(r'^[ \t]*(?=\{\s*"(?:name|type|function)"\s*:)', re.MULTILINE).finditer
_LIKE = re.compile(r'\{\s*"(?:name|type|function)"\s*:').match
_SHAPE = re.compile(r'"(?:parameters|arguments)"\s*:').search
_NEXT = re.compile(r"[\s;,]*").match
_END = re.compile(r"<\|(?:eom_id|eot_id)\|>").search
_BUILT_IN = re.compile(r"(\w+)\.call(?=\()").match


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    """After the tag, everything is calls. Without it, JSON that begins a line is a call if it has a name
    (that of one of `tools`, if they are given) and parameters."""
    head, tag, body = text.partition(TAG)
    if tag:
        calls, rest = _tagged(body)
        return ParsedReply(around([head, rest], ""), tuple(calls))
    known = {tool["function"]["name"] for tool in tools}
    for tried, found in enumerate(_BARE(text)):
        if tried == MAX_MALFORMED:
            break
        if _is_call(text, found.end(), known):
            calls, end = _calls(text, found.end())
            return ParsedReply(around([text[: found.start()], text[end:]]), tuple(calls))
    return ParsedReply(text)


def render(calls: Sequence[Call]) -> str:
    return TAG + "; ".join(map(_render_one, calls)) if calls else ""


def _render_one(call: Call) -> str:
    return write_json({"name": call.name, "parameters": call.arguments})


def _tagged(body: str) -> tuple[list[Call], str]:
    ended = _END(body)
    body, rest = (body[: ended.start()], body[ended.end() :]) if ended else (body, "")
    body = body.replace(TAG, ";").strip()
    if body.startswith("{"):
        calls, end = _calls(body, 0)
        return calls, body[end:] + rest
    built_in = _BUILT_IN(body)
    return [read_call(body if built_in is None else built_in[1] + body[built_in.end() :])], rest


def _is_call(text: str, at: int, known: set[str]) -> bool:
    found = scan_json(text, at)
    raw = text[at : found[1]] if found else text[at:]
    read = read_object(text, at)
    name = read[0].name if read else malformed(raw).name
    return bool(name) and _SHAPE(raw) is not None and (not known or name in known)


def _calls(text: str, at: int) -> tuple[list[Call], int]:
    """Consecutive calls from `at` on, and the position after the last. Whatever follows a semicolon is a
    call; without a semicolon, only text that begins like one is."""
    calls: list[Call] = []
    errors = 0
    while True:
        read = read_object(text, at) if errors < MAX_MALFORMED else None
        if read is not None:
            call, end = read
        else:
            errors += 1
            following = next_object(text, at) if errors < MAX_MALFORMED else -1
            end = following if following >= 0 else len(text)
            call = malformed(text[at:end].strip(" \t\r\n;,"))
        calls.append(call)
        at = _NEXT(text, end).end()  # type: ignore[union-attr]
        separated = ";" in text[end:at] and text.startswith("{", at)
        if not separated and not _LIKE(text, at):
            return calls, end


LLAMA = CallFormat("llama", parse, render, separator="", marks=(TAG, "{"))
