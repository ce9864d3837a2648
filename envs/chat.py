"""Messages in the OpenAI chat form, as plain dicts."""

import base64
import re
from collections.abc import Mapping
from typing import Any, Literal, Required, TypedDict

Role = Literal["system", "user", "assistant", "tool"]


Part = dict[str, Any]
"""A part of a content: `{"type": "text", "text": …}` or `{"type": "image_url", "image_url": {"url": …}}`."""

Content = str | list[Part]
"""What a message says: a text, or texts and images in order."""


class Message(TypedDict, total=False):
    """One chat message; the keys are those of the OpenAI chat form."""

    role: Required[Role]
    content: Required[Content]
    tool_calls: list[dict[str, Any]]
    tool_call_id: str


Chat = list[Message]
"""What a language environment returns: the messages added since the agent's last action."""

Reply = str | Message
"""What it accepts: a text, or an assistant message."""


def system(content: str) -> Message:
    return {"role": "system", "content": content}


def user(content: Content) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def tool_result(call: Mapping[str, Any], content: Content) -> Message:
    """The answer to one tool call, under its id."""
    return {"role": "tool", "tool_call_id": str(call.get("id", "")), "content": content}


def text_part(text: str) -> Part:
    return {"type": "text", "text": text}


def image_part(png: bytes) -> Part:
    """A PNG file as a part of a content, inline."""
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    return {"type": "image_url", "image_url": {"url": url}}


_IMAGE_URL = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")


def part_text(part: Any) -> str | None:
    """The text of a text part; None for anything else."""
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
    return text if isinstance(text, str) else None


def part_image(part: Any) -> str | None:
    """The data URL of an inline image's part; None for anything else, an address elsewhere included."""
    image = part.get("image_url") if isinstance(part, Mapping) and part.get("type") == "image_url" else None
    url = image.get("url") if isinstance(image, Mapping) else None
    return url if isinstance(url, str) and _IMAGE_URL.fullmatch(url) else None


def content_text(message: Mapping[str, Any]) -> str:
    """What a message says, for those who can only read: each part on lines of its own, an image as
    `[image]`."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = ["[image]" if part_image(part) else part_text(part) for part in parts]
    return "\n".join(text for text in texts if text is not None)


def content_images(message: Mapping[str, Any]) -> list[str]:
    """The data URLs of a message's inline images."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return [url for url in map(part_image, parts) if url is not None]


def as_reply(action: Any) -> Any:
    """What an agent did, as plain data: the message object of an OpenAI client, or any other object with
    `model_dump`, becomes its dict. Keys that hold None are left out, `content` excepted."""
    if isinstance(action, str):
        return action
    dump = getattr(action, "model_dump", None)
    message = dump() if callable(dump) else action
    if isinstance(message, dict) and None in message.values():
        return {key: value for key, value in message.items() if value is not None or key == "content"}
    return message


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
    return "\n\n".join(f"[{message['role']}]\n{content_text(message)}" for message in messages)
