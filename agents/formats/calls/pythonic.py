"""Pythonic calls: a list, `[f(x=-1, y={"a": [1]}), g()]`. Nothing is evaluated; see `literals`."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.literals import NAME, Malformed, read_arguments, write_call
from ludus.agents.formats.calls.reply import MAX_MALFORMED, Call, CallFormat, ParsedReply, around

START = "<|python_start|>"
_LIST = re.compile(rf"\[\s*({NAME})\s*(?=\()").finditer
_CALL = re.compile(rf"[\s,;]*({NAME})\s*(?=\()").match
_RESYNC = re.compile(rf"\)\s*,\s*(?={NAME}\s*\()").search
_LAST = re.compile(r"\][ \t]*(?=\n|\Z)").search
_CLOSE = re.compile(r"[\s,]*(?:\](?:\s*<\|python_end\|>)?|\Z)").match


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    """A list of calls begins a line, or calls one of `tools`. A malformed call extends to where the next one
    seems to begin, to the bracket that ends its line, or to the end of the text."""
    known = {tool["function"]["name"] for tool in tools}
    pieces, calls = [], list[Call]()
    done = errors = 0
    for found in _LIST(text):
        start = _start(text, found.start())
        if start < done or not (found[1] in known or _begins_line(text, start)):
            continue
        if errors >= MAX_MALFORMED:
            break
        pieces.append(text[done:start])
        listed, done = read_calls(text, found.start(1))
        errors += sum(isinstance(call.arguments, str) for call in listed)
        calls += listed
    return ParsedReply(around([*pieces, text[done:]]), tuple(calls))


def render(calls: Sequence[Call]) -> str:
    return f"[{', '.join(map(write_call, calls))}]" if calls else ""


def _start(text: str, at: int) -> int:
    """Where a list begins, with the mark that some models put before it."""
    before = text[max(0, at - 40) : at].rstrip()
    return text.rindex(START, 0, at) if before.endswith(START) else at


def _begins_line(text: str, at: int) -> bool:
    lead = text[max(0, at - 40) : at].rstrip(" \t")
    return lead.endswith("\n") or (not lead and at <= 40)


def read_calls(text: str, at: int) -> tuple[list[Call], int]:
    """The calls of a list from `at` on, where the first name stands, and the position after the list."""
    calls: list[Call] = []
    errors, begun = 0, at
    while named := _CALL(text, at):
        try:
            begun = named.end()
            arguments, at = read_arguments(text, begun)
            calls.append(Call(named[1], arguments))
            continue
        except Malformed:
            errors += 1
        following = _RESYNC(text, named.end()) if errors < MAX_MALFORMED else None
        at = following.start() + 1 if following else _end_of_line(text, named.end())
        calls.append(Call(named[1], text[named.end() : at].strip().removesuffix("]")))
        if following is None:
            return calls, at
    ended = _CLOSE(text, at)
    if ended is None:
        at = _end_of_line(text, at)
        calls[-1] = Call(calls[-1].name, text[begun:at].strip().removesuffix("]"))
        return calls, at
    return calls, ended.end()


def _end_of_line(text: str, at: int) -> int:
    """The end of a list whose last call is malformed: its closing bracket at the end of a line."""
    closed = _LAST(text, at)
    return closed.end() if closed else len(text)


PYTHONIC = CallFormat("pythonic", parse, render, marks=("[", START))
