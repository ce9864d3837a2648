"""What a user wants and knows, and what a user is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ludus.envs.chat import Message

SLOTS = ("minutes", "day", "time", "people", "place", "title", "which")
"""What may be asked about: how long, on which day, when, with whom, where, called what, which of several."""


@dataclass(frozen=True, slots=True)
class Brief:
    """A user's goal and beliefs. Immutable; the same for the whole episode."""

    name: str
    request: str
    """What the user says first."""
    knows: tuple[tuple[str, str], ...] = ()
    """By slot: what the user answers when asked for it. What is missing does not matter to the user."""

    def answer_to(self, slot: str) -> str | None:
        return dict(self.knows).get(slot)

    @property
    def written(self) -> str:
        """The brief in words, as instructions for somebody who plays the user."""
        known = "\n".join(f"- {slot}: {answer}" for slot, answer in self.knows)
        return (
            f"You are {self.name}. You asked your assistant: {self.request!r}\n"
            "What you know beyond that, to be told only when the assistant asks for it:\n"
            f"{known or '- nothing'}\n"
            "Whatever else the assistant asks does not matter to you: say so. Answer in one or two short "
            "sentences. Do not volunteer anything, do not invent anything, do not do the assistant's work."
        )


class User(Protocol):
    """Somebody who answers an assistant. It keeps nothing: an instance serves any number of episodes."""

    def answer(self, brief: Brief, history: Sequence[Message], text: str) -> str:
        """What the user says to a text.

        Args:
            brief: what this user wants and knows.
            history: the talk so far, the request first: `user` and `assistant` messages in turn.
            text: what the assistant says now.

        Raises:
            ToolFault: the user cannot answer for reasons that are not the assistant's.
        """
        ...
