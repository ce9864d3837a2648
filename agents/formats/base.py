"""The chat-format protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ludus.envs.chat import Chat, Message
from ludus.tools.errors import UserError


class FormatError(UserError):
    """A chat format cannot say this: no tools, a role that it lacks, a turn without an end."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The ids that precede the next completion, and how they relate to what the model has seen."""

    ids: tuple[int, ...]
    """To append to the context; or, on a fork, the whole context."""
    fork: bool


class ChatFormat(Protocol):
    stop_ids: tuple[int, ...]
    """Ids that end an assistant turn; an assistant turn that ends well has sampled one."""
    pad_id: int
    vocab_size: int

    def first_prompt(self, messages: Chat, tools: Sequence[Any] = ()) -> Prompt:
        """Messages of `reset`, rendered up to where the assistant begins to speak."""
        ...

    def next_prompt(
        self, history: Chat, context: Sequence[int], added: Chat, tools: Sequence[Any] = ()
    ) -> Prompt:
        """`history`: all messages before `added`, the assistant's own last reply included; `context`: the
        exact ids the model has seen and sampled. Appends, never re-tokenises; forks only where the template
        itself rewrites what was rendered before."""
        ...

    def demonstrate(self, reply: Message) -> tuple[int, ...]:
        """The ids that a policy would have sampled to say this, the end-of-turn token included."""
        ...

    def parse(self, completion_ids: Sequence[int], tools: Sequence[Any] = ()) -> Message:
        """The assistant message, with `tool_calls` where it calls tools. Arguments are objects; of a
        malformed call they are the text that stands in their place. Never raises."""
        ...

    def decode(self, ids: Sequence[int]) -> list[str]:
        """The text of each id apart, for display."""
        ...
