"""LFM2: a list of calls in Python's notation, or in JSON, between `<|tool_call_start|>` and
`<|tool_call_end|>`."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.literals import NAME, write_call
from ludus.agents.formats.calls.marked_json import marks, read_marked
from ludus.agents.formats.calls.pythonic import read_calls
from ludus.agents.formats.calls.reply import MAX_MALFORMED, Call, CallFormat, ParsedReply, around

OPEN, CLOSE = "<|tool_call_start|>", "<|tool_call_end|>"
_MARKS = marks(re.escape(OPEN), re.escape(CLOSE))
_CALLS = re.compile(rf"\s*\[\s*(?={NAME}\s*\()").match


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    """A malformed call extends to where the next one seems to begin, or to the closing mark."""
    pieces, calls = [], list[Call]()
    done = errors = 0
    while (start := text.find(OPEN, done)) >= 0:
        opened = _CALLS(text, start + len(OPEN))
        if opened is None or errors >= MAX_MALFORMED:
            break
        pieces.append(text[done:start])
        found, done = read_calls(text, opened.end())
        if any(isinstance(call.arguments, str) for call in found):
            end = text.find(CLOSE, opened.end())
            found, done = read_calls(text[: end if end >= 0 else len(text)], opened.end())
        errors += sum(isinstance(call.arguments, str) for call in found)
        calls += found
        done += len(CLOSE) if text.startswith(CLOSE, done) else 0
    rest = read_marked(text[done:], _MARKS)
    return ParsedReply(around([*pieces, rest.text], ""), (*calls, *rest.calls))


def render(calls: Sequence[Call]) -> str:
    return f"{OPEN}[{', '.join(map(write_call, calls))}]{CLOSE}" if calls else ""


LFM2 = CallFormat("lfm2", parse, render, separator="", marks=(OPEN,))
