"""Messages in the OpenAI chat form, as plain dicts."""

from collections.abc import Mapping
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


def tool_result(call: Mapping[str, Any], content: str) -> Message:
    """The answer to one tool call, under its id."""
    return {"role": "tool", "tool_call_id": str(call.get("id", "")), "content": content}


def reply_text(reply: Any) -> str:
    """The text of a reply. Whatever has none (no content, None, a number) counts as the empty text."""
    if isinstance(reply, str):
        return reply
    content = reply.get("content") if isinstance(reply, Mapping) else None
    return content if isinstance(content, str) else ""


def reply_tool_calls(reply: Any) -> list[Mapping[str, Any]]:
    """The tool calls of a reply; what is not a tool call's mapping is left out."""
    calls = reply.get("tool_calls") if isinstance(reply, Mapping) else None
    return [call for call in calls if isinstance(call, Mapping)] if isinstance(calls, list | tuple) else []


def transcript(messages: Chat) -> str:
    """A conversation for the eye: each message under its role."""
    return "\n\n".join(f"[{message['role']}]\n{message.get('content') or ''}" for message in messages)
