"""Command R7B and Command A: a JSON list of `tool_name` and `parameters` between `<|START_ACTION|>` and
`<|END_ACTION|>`; thinking and words have marks, too."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.marked_json import marks, read_marked
from ludus.agents.formats.calls.reply import (
    Call,
    CallFormat,
    ParsedReply,
    split_thinking,
    with_thinking,
    write_json,
)

_THINK, _END_THINK = "<|START_THINKING|>", "<|END_THINKING|>"
_SAY, _END_SAY = "<|START_RESPONSE|>", "<|END_RESPONSE|>"
_MARKS = marks(open=r"<\|START_ACTION\|>", close=r"<\|END_ACTION\|>")
_THOUGHT = re.compile(r"\s*<\|START_THINKING\|>").match


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    """What looks like a call in thinking is a draft."""
    thought = ""
    if opened := _THOUGHT(text):
        thought, _, text = text[opened.end() :].partition(_END_THINK)
    read = read_marked(text, _MARKS)
    words = read.text.replace(_SAY, "").replace(_END_SAY, "")
    return ParsedReply(with_thinking(thought, words), read.calls)


def words(text: str) -> str:
    thought, said = split_thinking(text)
    thinking = f"{_THINK}{thought}{_END_THINK}" if thought else ""
    return thinking + (f"{_SAY}{said}{_END_SAY}" if said or not thought else "")


def render(calls: Sequence[Call]) -> str:
    listed = [
        {"tool_call_id": call.id or str(place), "tool_name": call.name, "parameters": call.arguments}
        for place, call in enumerate(calls)
    ]
    return f"<|START_ACTION|>{write_json(listed)}<|END_ACTION|>" if listed else ""


COMMAND = CallFormat("command", parse, render, separator="", words=words)
