"""`Dialogue`: a conversation to learn from, whatever file it came from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ludus.agents.episode import Turn
from ludus.envs.chat import Message


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What was said, and what is known about how it went."""

    place: str
    """For a person: where it was read."""
    turns: tuple[Turn, ...]
    """Each with what the assistant heard, and its reply."""
    tools: Sequence[Any] = ()
    """In OpenAI's form."""
    untrained: frozenset[int] = frozenset()
    """The turns whose replies are context only."""
    success: bool | None = None
    """None: not recorded. The same goes for `reward`."""
    reward: float | None = None
    unusable: str = ""
    """Why nothing can be learned from it, if that is so."""
    task: tuple[str, str] | None = None
    """The environment's id and the key of the task, if it is an episode."""

    @property
    def opening(self) -> bytes:
        """A key of what the assistant was first told and given: equal for replies to the same task."""
        said = self.turns[0].observation if self.turns else []
        return opening_key(said, self.tools)


def opening_key(messages: Sequence[Message], tools: Sequence[Any]) -> bytes:
    """
    Args:
        messages: Before the first reply.
        tools: In OpenAI's form.
    """
    content = json.dumps([list(messages), list(tools)], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=16).digest()
