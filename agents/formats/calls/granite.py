"""Granite 3 and Phi-4-mini: `<|tool_call|>` before a JSON list of calls, or before each call; Phi-4-mini ends
it with `<|/tool_call|>`, or writes `functools` in place of the mark."""

from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.json_calls import plain
from ludus.agents.formats.calls.marked_json import marks, read_marked
from ludus.agents.formats.calls.reply import Call, CallFormat, ParsedReply, write_json

TAG = "<|tool_call|>"
_MARKS = marks(
    open=r"<\|tool_call\|>|<tool_call>(?=\s*\[)|functools(?=\[)", close=r"<\|/tool_call\|>|</tool_call>"
)


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    return read_marked(text, _MARKS)


def render(calls: Sequence[Call]) -> str:
    return TAG + write_json([plain(call) for call in calls]) if calls else ""


GRANITE = CallFormat("granite", parse, render, separator="", marks=(TAG, "<tool_call>", "functools["))
