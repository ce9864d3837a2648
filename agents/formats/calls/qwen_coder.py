"""Qwen's coder models: `<function=NAME>`, and `<parameter=KEY>` around each argument, whose type is not
written."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.reply import Call, CallFormat, ParsedReply
from ludus.agents.formats.calls.untyped import Tags, read_tagged, write_tagged

_TAGS = Tags(
    open=re.compile(r"(?:<tool_call>\s*)?<function=").search,
    name=re.compile(r"([^<>\n]{1,200})>\s*").match,
    key=re.compile(r"<parameter=([^<>\n]{1,200})>\n?").match,
    value_end=re.compile(r"\n?(</parameter>\s*)?(?=<parameter=|</function>)").search,
    close=re.compile(r"</function>(?:\s*</tool_call>)?").match,
    end=re.compile(r"(?=<function=|<tool_call>\s*<function=)|</function>(?:\s*</tool_call>)?").search,
)


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    return read_tagged(text, tools, _TAGS)


def render(calls: Sequence[Call]) -> str:
    return "\n".join(map(_render_one, calls))


def _render_one(call: Call) -> str:
    inside = write_tagged(call.arguments, "<parameter={key}>\n{value}\n</parameter>\n")
    return f"<tool_call>\n<function={call.name}>\n{inside}</function>\n</tool_call>"


QWEN_CODER = CallFormat("qwen_coder", parse, render, marks=("<function=", "<tool_call>"))
