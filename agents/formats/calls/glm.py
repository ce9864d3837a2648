"""GLM from 4.5 on: `<tool_call>NAME`, then `<arg_key>` and `<arg_value>` for each argument, whose type is not
written."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.reply import Call, CallFormat, ParsedReply
from ludus.agents.formats.calls.untyped import Tags, read_tagged, write_tagged

_TAGS = Tags(
    open=re.compile(r"<tool_call>\s*(?![\s\[{<])").search,
    name=re.compile(r"([^<>\n]{1,200})\s*").match,
    key=re.compile(r"<arg_key>([^<>\n]{1,200})</arg_key>\s*<arg_value>").match,
    value_end=re.compile(r"</arg_value>\s*(?=<arg_key>|</tool_call>)").search,
    close=re.compile(r"</tool_call>").match,
    end=re.compile(r"(?=<tool_call>)|</tool_call>").search,
)


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    return read_tagged(text, tools, _TAGS)


def render(calls: Sequence[Call]) -> str:
    return "\n".join(map(_render_one, calls))


def _render_one(call: Call) -> str:
    inside = write_tagged(call.arguments, "<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n")
    return f"<tool_call>{call.name}\n{inside}</tool_call>"


GLM = CallFormat("glm", parse, render, marks=("<tool_call>",))
