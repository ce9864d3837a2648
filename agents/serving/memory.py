"""`Memory`: the conversations that a server has had, so that they go on from what was sampled."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ludus.agents.chat_messages import MALFORMED
from ludus.agents.conversation import Conversation
from ludus.agents.engines.base import Session
from ludus.agents.formats.calls.reply import Call, calls_of
from ludus.envs.chat import Message, content_images, content_text
from ludus.tools.content import content_key

REASONING = "reasoning_content"
"""The thinking of an earlier reply, which a client may send back; what is remembered has it anyway."""
MOST = 4096
"""How many replies are remembered."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A conversation up to a reply."""

    conversation: Conversation
    call_ids: Mapping[str, str] = field(default_factory=dict)
    """By the ids under which a client knows its calls: those that the model's format gave them."""
    session: Session | None = None
    """Where keys and values of its ids may be."""


def chat_keys(tools: Sequence[Any], messages: Sequence[Message]) -> list[int]:
    """A key for each beginning of a chat; chats that differ only in how they are written have the same."""
    return [*_keys(content_key(list(tools)), messages)]


def _keys(key: int, messages: Sequence[Message]) -> Iterator[int]:
    for message in messages:
        calls = [(call.id, call.name, _arguments(call)) for call in calls_of(message)]
        said = (message["role"], content_text(message), content_images(message), message.get("tool_call_id"))
        key = content_key((key, said, calls))
        yield key


def _arguments(call: Call) -> Mapping[str, Any]:
    """Those of a malformed call as `ChatPolicy` sends them back."""
    return {MALFORMED: call.arguments} if isinstance(call.arguments, str) else call.arguments


class Memory:
    """The latest replies, by the keys of their chats.

    Args:
        sessions: how many sessions are kept open for chats that may go on.
    """

    def __init__(self, sessions: int) -> None:
        self._sessions = sessions
        self._kept: OrderedDict[int, Remembered] = OrderedDict()

    def recall(self, keys: Sequence[int], messages: Sequence[Message]) -> tuple[int, Remembered | None]:
        """How many messages the longest beginning of a chat has that is remembered, and what is."""
        for place in reversed(range(len(messages) - 1)):
            if messages[place]["role"] == "assistant" and keys[place] in self._kept:
                self._kept.move_to_end(keys[place])
                return place + 1, self._kept[keys[place]]
        return 0, None

    def take(self, key: int | None) -> Session | None:
        """The session of a reply, which now belongs to the caller; None if it has none, or no longer."""
        found = None if key is None else self._kept.get(key)
        if key is None or found is None:
            return None
        self._kept[key] = replace(found, session=None)
        return found.session

    def keep(self, key: int, said: Remembered) -> None:
        if (before := self._kept.pop(key, None)) is not None and before.session is not None:
            before.session.close()
        self._kept[key] = said
        held = [other for other, kept in self._kept.items() if kept.session is not None]
        for other in held[: max(0, len(held) - self._sessions)]:
            self._rest(other)
        while len(self._kept) > MOST:
            self._rest(next(iter(self._kept)))
            self._kept.popitem(last=False)

    def _rest(self, key: int) -> None:
        session = self._kept[key].session
        if session is not None:
            session.close()
            self._kept[key] = replace(self._kept[key], session=None)
