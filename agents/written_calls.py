"""Calls in the text of a reply: of models whose server does not support tools, so that they are listed in the
system message, and of models whose server does not recognise their calls."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ludus.agents.formats.calls.hermes import CLOSE, OPEN
from ludus.agents.formats.calls.json_calls import malformed
from ludus.agents.formats.calls.registry import FORMATS, MARKERS, named
from ludus.agents.formats.calls.reply import (
    MAX_MALFORMED,
    Call,
    ParsedReply,
    around,
    message,
    scan_json,
    thinking,
    write_json,
)
from ludus.envs.chat import Chat, Message, assistant, content_text, reply_text, system, user

AUTO = "auto"
_TAG = re.compile(r"<function=([^<>\n]{1,200})>\s*(?=\{)")
_TAG_END = re.compile(r"\s*</function>")


@dataclass(frozen=True)
class WrittenCalls:
    """The tools of an environment in one of the formats of `ludus.agents.formats.calls`.

    Raises:
        FormatError: there is no format of this name.
    """

    format: str
    tools: Sequence[Any]

    def __post_init__(self) -> None:
        named(self.format)

    def introduce(self, messages: Chat) -> Chat:
        """The first messages, with the tools and the way to call them in the system message."""
        example = named(self.format).render([Call("tool_name", {"argument": "value"})])
        listed = "\n".join(write_json(tool["function"]) for tool in self.tools)
        return with_preface(
            messages, f"You may call these tools:\n{listed}\n\nCall one by writing exactly:\n{example}"
        )

    def observe(self, messages: Chat) -> Chat:
        """Later messages; results of calls come from the user, since the server does not know of the
        calls."""
        return [
            user(f"<tool_response>\n{content_text(message)}\n</tool_response>")
            if message["role"] == "tool"
            else self.say(message)
            for message in messages
        ]

    def say(self, message: Message) -> Message:
        """A message whose calls are text."""
        return assistant(named(self.format).write(message)) if message.get("tool_calls") else message

    def read(self, reply: Message) -> Message:
        """The reply with the calls found in its text."""
        return message(named(self.format).parse(reply_text(reply), self.tools))


def call_marker(text: str) -> str:
    """How a call in the text begins; empty if there seems to be none."""
    return next((marker for marker in MARKERS if marker in text[thinking(text) :]), "")


def read_any(reply: Message, tools: Sequence[Any]) -> Message:
    """The reply with the calls in its text, also those between LM Studio's tags: in the first format in which
    all of them are calls of `tools`; else in the format that its marker belongs to; else as it is."""
    text = reply_text(reply).replace("[TOOL_REQUEST]", OPEN).replace("[END_TOOL_REQUEST]", CLOSE)
    thought, names = thinking(text), {tool["function"]["name"] for tool in tools}
    readings = [_read_tags(text[thought:])]
    readings += [form.parse(text[thought:], tools) for form in FORMATS.values()]
    for parsed in readings:
        if parsed.calls and all(call.name in names for call in parsed.calls):
            return message(ParsedReply(text[:thought] + parsed.text, parsed.calls))
    marker = call_marker(text)
    return named(MARKERS[marker]).read(text, tools) if marker else reply


def _read_tags(text: str) -> ParsedReply:
    """Calls such as `<function=press>{"button": "left"}</function>`, which Llama models write."""
    pieces, calls, done, errors = [], list[Call](), 0, 0
    for opened in _TAG.finditer(text):
        if opened.start() < done or errors == MAX_MALFORMED:
            continue
        pieces.append(text[done : opened.start()])
        scanned = scan_json(text, opened.end())
        if scanned is None or not isinstance(scanned[0], dict):
            errors += 1
            end = text.find("</function>", opened.end())
            done = end if end >= 0 else len(text)
            calls.append(malformed(text[opened.start() : done]))
        else:
            calls.append(Call(opened[1].strip(), scanned[0]))
            done = scanned[1]
        if closed := _TAG_END.match(text, done):
            done = closed.end()
    return ParsedReply(around([*pieces, text[done:]]), tuple(calls)) if calls else ParsedReply(text)


def with_preface(messages: Chat, preface: str) -> Chat:
    """The messages with a text at the end of the system message, or in a new one."""
    first, *rest = messages
    if first["role"] == "system":
        return [system(f"{content_text(first)}\n\n{preface}"), *rest]
    return [system(preface), *messages]
