"""Tools for models whose server does not support them: listed in the system message, called in the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ludus.agents.formats.calls.registry import named
from ludus.agents.formats.calls.reply import Call, message, write_json
from ludus.envs.chat import Chat, Message, content_text, reply_text, system, user


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
            else message
            for message in messages
        ]

    def read(self, reply: Message) -> Message:
        """The reply with the calls found in its text."""
        return message(named(self.format).parse(reply_text(reply), self.tools))


def with_preface(messages: Chat, preface: str) -> Chat:
    """The messages with a text at the end of the system message, or in a new one."""
    first, *rest = messages
    if first["role"] == "system":
        return [system(f"{content_text(first)}\n\n{preface}"), *rest]
    return [system(preface), *messages]
