"""Kimi-K2: `<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{…}<|tool_call_end|>`.

What stands for the name is the call's id, numbered through the conversation."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.marked_json import marks, read_marked
from ludus.agents.formats.calls.reply import Call, CallFormat, ParsedReply, write_json

_MARKS = marks(
    open=r"(?:<\|tool_calls_section_begin\|>\s*)?<\|tool_call_begin\|>",
    close=r"<\|tool_call_end\|>(?:\s*<\|tool_calls_section_end\|>)?",
    head=r"(?P<id>(?:functions\.)?(?P<name>[\w.\-]{1,200})(?::\d{1,9})?)\s*<\|tool_call_argument_begin\|>\s*",
)


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    return read_marked(text, _MARKS)


def render(calls: Sequence[Call]) -> str:
    inside = "".join(
        f"<|tool_call_begin|>{id_for(call, place)}<|tool_call_argument_begin|>{_arguments(call)}"
        "<|tool_call_end|>"
        for place, call in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{inside}<|tool_calls_section_end|>" if calls else ""


def id_for(call: Call, place: int) -> str:
    has_own = re.fullmatch(rf"functions\.{re.escape(call.name)}:\d+", call.id)
    return call.id if has_own else f"functions.{call.name}:{place}"


def _arguments(call: Call) -> str:
    return call.arguments if isinstance(call.arguments, str) else write_json(call.arguments)


KIMI = CallFormat(
    "kimi",
    parse,
    render,
    separator="",
    id_for=id_for,
    marks=("<|tool_calls_section_begin|>", "<|tool_call_begin|>"),
)
