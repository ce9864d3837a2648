"""Mistral: `[TOOL_CALLS]` before a JSON list of calls, or before each `name[ARGS]{…}`.

An id has nine letters or digits."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from ludus.agents.formats.calls.json_calls import call_of, plain, read_list
from ludus.agents.formats.calls.reply import (
    MAX_MALFORMED,
    Call,
    CallFormat,
    ParsedReply,
    around,
    scan_json,
    write_json,
)

TAG = "[TOOL_CALLS]"
_HEAD = re.compile(r"\s*([\w.\-]{0,200})\s*(?:\[CALL_ID\]([A-Za-z0-9]{9}))?\s*(?:\[ARGS\])?\s*").match
_SPACE = re.compile(r"\s*").match
_ID = re.compile(r"[A-Za-z0-9]{9}").fullmatch
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    pieces, calls = [], list[Call]()
    done, errors = 0, 0
    while (start := text.find(TAG, done)) >= 0:
        pieces.append(text[done:start])
        at = _SPACE(text, start + len(TAG)).end()  # type: ignore[union-attr]
        if errors < MAX_MALFORMED and text.startswith("[", at) and not text.startswith(TAG, at):
            listed, done = _list(text, at)
            calls += listed
            errors += sum(isinstance(call.arguments, str) for call in listed)
            continue
        call, done = _named(text, at, errors < MAX_MALFORMED)
        errors += isinstance(call.arguments, str)
        calls.append(call)
    return ParsedReply(around([*pieces, text[done:]], ""), tuple(calls))


def render(calls: Sequence[Call]) -> str:
    listed = [plain(call) | ({"id": call.id} if call.id else {}) for call in calls]
    return TAG + write_json(listed) if listed else ""


def call_id(position: int) -> str:
    return f"call{position:05d}"


def valid_id(id: str) -> str:
    """An id of nine letters or digits unchanged; any other as nine derived from it."""
    if _ID(id):
        return id
    number = int.from_bytes(blake2b(id.encode(), digest_size=8).digest(), "big")
    return "".join(_DIGITS[number // 36**place % 36] for place in range(9))


def _list(text: str, at: int) -> tuple[list[Call], int]:
    """A list of calls; a malformed list gives at least one, and ends before the next `[TOOL_CALLS]`."""
    whole = scan_json(text, at)
    if whole is not None:
        calls, end = [call_of(value) for value in whole[0]], whole[1]
    else:
        following = text.find(TAG, at)
        region = text[at : following if following >= 0 else len(text)]
        calls, length = read_list(region, 0)
        calls, end = (calls, at + length) if calls else ([Call("", region.strip())], at + len(region))
    return [Call(call.name, call.arguments, call.id if _ID(call.id) else "") for call in calls], end


def _named(text: str, at: int, tell_apart: bool) -> tuple[Call, int]:
    head = _HEAD(text, at)
    assert head is not None  # it matches the empty string
    read = scan_json(text, head.end()) if tell_apart and text.startswith("{", head.end()) else None
    if read is not None and isinstance(read[0], dict) and head[1]:
        return Call(head[1], read[0], head[2] or ""), read[1]
    if read is not None:
        return call_of(read[0], text[at : read[1]]), read[1]
    following = text.find(TAG, at) if tell_apart else -1
    end = following if following >= 0 else len(text)
    raw = text[head.end() : end].strip() or text[at:end].strip()
    return Call(head[1], raw, head[2] or ""), end


MISTRAL = CallFormat(
    "mistral",
    parse,
    render,
    separator="",
    id_of=call_id,
    id_for=lambda call, _: valid_id(call.id),
    marks=(TAG,),
)
