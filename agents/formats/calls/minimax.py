"""MiniMax-M2: `<invoke name="NAME">` and `<parameter name="KEY">` between `<minimax:tool_call>` tags; types
are not written."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.reply import Call, CallFormat, ParsedReply
from ludus.agents.formats.calls.untyped import Tags, read_tagged, write_tagged

_OPEN = r'(?:<minimax:tool_call>\s*)?<invoke name="'
_CLOSE = r"</invoke>(?:\s*</minimax:tool_call>)?"
_TAGS = Tags(
    open=re.compile(_OPEN).search,
    name=re.compile(r'([^"<>\n]{1,200})">\s*').match,
    key=re.compile(r'<parameter name="([^"<>\n]{1,200})">').match,
    value_end=re.compile(r'</parameter>\s*(?=<parameter name="|</invoke>)').search,
    close=re.compile(_CLOSE).match,
    end=re.compile(rf"(?={_OPEN})|{_CLOSE}").search,
)


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    return read_tagged(text, tools, _TAGS)


def render(calls: Sequence[Call]) -> str:
    inside = "\n".join(map(_render_one, calls))
    return f"<minimax:tool_call>\n{inside}\n</minimax:tool_call>" if calls else ""


def _render_one(call: Call) -> str:
    inside = write_tagged(call.arguments, '<parameter name="{key}">{value}</parameter>\n')
    return f'<invoke name="{call.name}">\n{inside}</invoke>'


MINIMAX = CallFormat("minimax", parse, render, marks=("<minimax:tool_call>", '<invoke name="'))
