"""Hermes and Qwen: `<tool_call>` and `</tool_call>` around `{"name": …, "arguments": {…}}`."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.json_calls import malformed, plain, read_object
from ludus.agents.formats.calls.reply import (
    MAX_MALFORMED,
    Call,
    CallFormat,
    ParsedReply,
    around,
    write_json,
)

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_TAG = re.compile(r"</?tool_call>").search
_SPACE = re.compile(r"\s*").match


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    """A call is closed by its tag, by the next call or, if its JSON is complete, by any text after it."""
    pieces, calls = [], []
    done, errors = 0, 0
    while (start := text.find(OPEN, done)) >= 0:
        pieces.append(text[done:start])
        inside = _SPACE(text, start + len(OPEN)).end()  # type: ignore[union-attr]
        read = read_object(text, inside) if errors < MAX_MALFORMED else None
        closing = _TAG(text, read[1] if read else inside) if errors < MAX_MALFORMED else None
        end = closing.start() if closing else len(text)
        closed = closing is not None and closing[0] == CLOSE
        if read is not None and (not closed or not text[read[1] : end].strip()):
            calls.append(read[0])
            done = end + len(CLOSE) if closed else read[1]
        else:
            errors += 1
            calls.append(malformed(text[inside:end].strip()))
            done = end + len(CLOSE) if closed else end
    return ParsedReply(around([*pieces, text[done:]]), tuple(calls))


def render(calls: Sequence[Call]) -> str:
    return "\n".join(f"{OPEN}\n{write_json(plain(call))}\n{CLOSE}" for call in calls)


HERMES = CallFormat("hermes", parse, render, marks=(OPEN,))
