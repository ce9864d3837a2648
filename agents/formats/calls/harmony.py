"""gpt-oss: every message of a reply has a header, `<|channel|>final<|message|>…`; a call is one to
`functions.NAME`, whose text is JSON, and ends with `<|call|>`."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.agents.formats.calls.reply import (
    MAX_MALFORMED,
    Call,
    CallFormat,
    ParsedReply,
    scan_json,
    split_thinking,
    with_thinking,
    write_json,
)

MESSAGE = "<|message|>"
_NEXT = "<|end|><|start|>assistant"
_HEADER = re.compile(
    r"(?:<\|(?:end|call)\|>)?(?:<\|start\|>assistant)?"
    r"(?:(?: ?to=[\w.\-]{1,200})? ?<\|channel\|>| ?to=functions\.)[^<\n]{0,300}"
    r"(?:<\|(?:channel|constrain)\|>[^<\n]{0,300}){0,3}<\|message\|>"
).search
_TO = re.compile(r"to=functions\.([\w.\-]{1,200})").search
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w{1,40})").search
_END = re.compile(r"<\|(?:end|call|return)\|>|(?=<\|start\|>)").search
_CLOSE = re.compile(r"\s*<\|(?:end|call|return)\|>").match


def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
    """What stands in the channel `analysis` is thinking; every message to a function is a call."""
    thoughts, said, calls = list[str](), list[str](), list[Call]()
    done = errors = 0
    while header := _HEADER(text, done):
        between = text[done : header.start()]
        said.append(between.strip("\n") if done else between)
        called, channel = _TO(header[0]), _CHANNEL(header[0])
        if called is None:
            ended = _END(text, header.end())
            body = text[header.end() : ended.start() if ended else len(text)]
            (thoughts if channel and channel[1] == "analysis" else said).append(body)
            done = ended.end() if ended else len(text)
            continue
        read = scan_json(text, header.end()) if errors < MAX_MALFORMED else None
        if read is not None and isinstance(read[0], dict):
            calls.append(Call(called[1], read[0]))
            closed = _CLOSE(text, read[1])
            done = closed.end() if closed else read[1]
        else:
            errors += 1
            ended = _END(text, header.end()) if errors < MAX_MALFORMED else None
            calls.append(Call(called[1], text[header.end() : ended.start() if ended else len(text)].strip()))
            done = ended.end() if ended else len(text)
    said.append(text[done:].strip("\n") if done else text)
    whole = "\n".join(words for words in said if words)
    return ParsedReply(with_thinking("\n\n".join(thoughts), whole), tuple(calls))


def words(text: str) -> str:
    thought, said = split_thinking(text)
    thinking = f"<|channel|>analysis{MESSAGE}{thought}" if thought else ""
    joint = _NEXT if thought and said else ""
    return thinking + joint + (f"<|channel|>final{MESSAGE}{said}" if said or not thought else "")


def render(calls: Sequence[Call]) -> str:
    return "<|call|><|start|>assistant".join(map(_render_one, calls))


def _render_one(call: Call) -> str:
    text = call.arguments if isinstance(call.arguments, str) else write_json(call.arguments)
    return f" to=functions.{call.name}<|channel|>commentary json{MESSAGE}{text}"


HARMONY = CallFormat("harmony", parse, render, separator=_NEXT, words=words)
