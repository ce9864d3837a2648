"""Pythonic calls: a list, `[f(x=-1, y={"a": [1]}), g()]`. Nothing is evaluated; see `literals`."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.literals import NAME, Malformed, read_arguments, write_call
from ludus.agents.formats.calls.reply import MAX_MALFORMED, Call, CallFormat, ParsedReply, around

_LIST = re.compile(rf"(?:<\|python_start\|>\s*)?\[\s*({NAME})\s*(?=\()").finditer
_LINE = re.compile(r"(?:^|\n)[ \t]*(?:<\|python_start\|>\s*)?\Z").search
_CALL = re.compile(rf"[\s,;]*({NAME})\s*(?=\()").match
_RESYNC = re.compile(rf"\)\s*,\s*(?={NAME}\s*\()").search
_LAST = re.compile(r"\][ \t]*(?=\n|\Z)").search
_CLOSE = re.compile(r"[\s,]*\](?:\s*<\|python_end\|>)?").match


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    """A list of calls begins a line, or calls one of `tools`. A malformed call reaches to where the next one
    seems to begin, or to the bracket that ends its line, or to the end of the text."""
    known = {tool["function"]["name"] for tool in tools}
    pieces, calls = [], list[Call]()
    done = errors = 0
    for found in _LIST(text):
        start = found.start()
        if start < done or not (found[1] in known or _LINE(text, max(0, start - 200), start)):
            continue
        if errors >= MAX_MALFORMED:
            break
        pieces.append(text[done:start])
        listed, done = _list(text, found.start(1))
        errors += sum(isinstance(call.arguments, str) for call in listed)
        calls += listed
    return ParsedReply(around([*pieces, text[done:]]), tuple(calls))


def render(calls: Sequence[Call]) -> str:
    return f"[{', '.join(map(write_call, calls))}]" if calls else ""


def _list(text: str, at: int) -> tuple[list[Call], int]:
    calls: list[Call] = []
    errors = 0
    while named := _CALL(text, at):
        try:
            arguments, at = read_arguments(text, named.end())
            calls.append(Call(named[1], arguments))
            continue
        except Malformed:
            errors += 1
        following = _RESYNC(text, named.end()) if errors < MAX_MALFORMED else None
        at = following.start() + 1 if following else _end_of_line(text, named.end())
        calls.append(Call(named[1], text[named.end() : at].strip().removesuffix("]")))
        if following is None:
            return calls, at
    closed = _CLOSE(text, at)
    return calls, closed.end() if closed else at


def _end_of_line(text: str, at: int) -> int:
    """The end of a list whose last call is malformed: its closing bracket at the end of a line."""
    closed = _LAST(text, at)
    return closed.end() if closed else len(text)


PYTHONIC = CallFormat("pythonic", parse, render)
