"""DeepSeek: `<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}<｜tool▁call▁end｜>` (V3.1), or with `function` before
the separator and the name and fenced JSON after it (V3, R1)."""

from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.marked_json import marks, read_marked
from ludus.agents.formats.calls.reply import Call, CallFormat, ParsedReply, write_json

_MARKS = marks(
    open="(?:<｜tool▁calls▁begin｜>\\s*)?<｜tool▁call▁begin｜>",
    close="(?:```\\s*)?<｜tool▁call▁end｜>(?:\\s*<｜tool▁calls▁end｜>)?",
    head=r"(?:function<｜tool▁sep｜>)?(?P<name>[\w.\-]{1,200})\s*(?:<｜tool▁sep｜>|```(?:json)?)\s*",
)


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    return read_marked(text, _MARKS)


def render(calls: Sequence[Call]) -> str:
    inside = "".join(
        f"<｜tool▁call▁begin｜>{call.name}<｜tool▁sep｜>{_arguments(call)}<｜tool▁call▁end｜>"
        for call in calls
    )
    return f"<｜tool▁calls▁begin｜>{inside}<｜tool▁calls▁end｜>" if calls else ""


def _arguments(call: Call) -> str:
    return call.arguments if isinstance(call.arguments, str) else write_json(call.arguments)


DEEPSEEK = CallFormat(
    "deepseek", parse, render, separator="", marks=("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>")
)
