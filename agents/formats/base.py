"""The chat-format protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ludus.envs.chat import Chat, Message
from ludus.tools.errors import UserError


class FormatError(UserError):
    """A chat format cannot express something: it has no tools, lacks a role, or cannot end a turn."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The ids before the next completion, and how they relate to those that the model has seen."""

    ids: tuple[int, ...]
    """The ids to append to the context; on a fork, the whole context."""
    fork: bool
    pictures: tuple[str, ...] = ()
    """The pictures whose tokens are among these ids (`ludus.agents.picture_ids`), as data URLs."""


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """What a reply looks like while it is being written."""

    opened: str = ""
    """The text with which the prompt has begun it, which is a part of the reply as a message."""
    thinks: bool = False
    """Whether thinking at its beginning is apart from its words, in the model's chat template."""
    marks: tuple[str, ...] | None = ()
    """Where one of these begins, a call may begin; before that, all is words. None: words cannot be told from
    the rest before the reply is complete."""


class ChatFormat(Protocol):
    stop_ids: tuple[int, ...]
    """Ids that end an assistant turn; a complete assistant turn ends with one of them."""
    pad_id: int
    vocab_size: int

    @property
    def sees(self) -> bool:
        """Whether prompts have the messages' pictures; else each is `[image]`."""
        ...

    def first_prompt(self, messages: Chat, tools: Sequence[Any] = ()) -> Prompt:
        """Messages of `reset`, rendered up to where the assistant begins to speak."""
        ...

    def next_prompt(
        self, history: Chat, context: Sequence[int], added: Chat, tools: Sequence[Any] = ()
    ) -> Prompt:
        """`history`: all messages before `added`, the assistant's own last reply included; `context`: the
        exact ids the model has seen and sampled. Appends, never re-tokenises; forks only if the template
        itself rewrites what was rendered before."""
        ...

    def demonstrate(self, reply: Message) -> tuple[int, ...]:
        """The ids that a policy would have sampled for this reply, including the end-of-turn token."""
        ...

    def parse(self, completion_ids: Sequence[int], tools: Sequence[Any] = ()) -> Message:
        """The assistant message, with `tool_calls` if it calls tools. Arguments are objects; those of a
        malformed call are the text in their place. Never raises."""
        ...

    def reply_form(self, tools: Sequence[Any] = ()) -> ReplyForm:
        """Of the replies that `parse` reads with these tools."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids as `parse` reads it. That of the first of them is its beginning, but for U+FFFD at
        the end, which stands for a character that is not complete."""
        ...

    def decode(self, ids: Sequence[int]) -> list[str]:
        """The text of each id separately, for display. A model may have more ids than its tokenizer,
        where its matrices were padded: such an id is U+FFFD, here as in `pieces` and `parse`."""
        ...

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        """The bytes of each id; end to end, they are the text in UTF-8. A character may be in several."""
        ...
