"""`Conversation`: what one player has heard and said, as messages and as exact ids."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ludus.agents.formats.base import ChatFormat, Prompt
from ludus.envs.chat import Message


@dataclass(frozen=True, slots=True)
class Conversation:
    """Grows in turns: by the messages of the other side (`hear`) and by the player's replies (`say`).

    What was sampled stays as it was sampled: ids are only ever appended, unless the format says that its
    template rewrote the history (a fork). Immutable, so that branching players can share it.
    """

    format: ChatFormat
    tools: Sequence[Any] = ()
    """In OpenAI's form, as `tool_schemas` gives them."""
    messages: tuple[Message, ...] = ()
    context: tuple[int, ...] = ()
    """All ids that the model has seen and sampled, since the last fork."""
    pictures: tuple[str, ...] = ()
    """The pictures whose tokens are among them, as data URLs."""

    def hear(self, added: Sequence[Message]) -> tuple["Conversation", Prompt]:
        """Adds messages of the other side, up to where the player begins to speak.

        Returns:
            The longer conversation, and the prompt that leads there: the ids to append or, on a fork, the
            whole history rendered anew. The first prompt is not a fork.
        """
        if self.messages:
            prompt = self.format.next_prompt(list(self.messages), self.context, list(added), self.tools)
        else:
            prompt = replace(self.format.first_prompt(list(added), self.tools), fork=False)
        seen = () if prompt.fork else self.context
        shown = tuple(dict.fromkeys((*self.pictures, *prompt.pictures)))
        return replace(self._with(added, (*seen, *prompt.ids)), pictures=shown), prompt

    def say(self, reply: Message, completion_ids: Sequence[int]) -> "Conversation":
        """Adds the player's reply, which was sampled as these ids."""
        return self._with([reply], (*self.context, *completion_ids))

    def _with(self, added: Sequence[Message], context: tuple[int, ...]) -> "Conversation":
        return replace(self, messages=(*self.messages, *added), context=context)
