"""Messages in the OpenAI chat form, as plain dicts."""

from typing import Any, Literal, Required, TypedDict

Role = Literal["system", "user", "assistant", "tool"]


class Message(TypedDict, total=False):
    """One chat message; the keys are those of the OpenAI chat form."""

    role: Required[Role]
    content: Required[str]
    tool_calls: list[dict[str, Any]]
    tool_call_id: str


Chat = list[Message]
"""What a language environment returns: the messages added since the agent's last action."""

Reply = str | Message
"""What it accepts: a text, or an assistant message."""


def system(content: str) -> Message:
    return {"role": "system", "content": content}


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def reply_text(reply: Reply) -> str:
    """The text of a reply; a message without content counts as the empty text."""
    return reply if isinstance(reply, str) else reply.get("content") or ""
