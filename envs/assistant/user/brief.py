"""`Brief`, what a user wants and knows, and `User`, the interface of users."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ludus.envs.chat import Message

SLOTS = ("minutes", "day", "time", "people", "place", "title", "which")
"""What can be asked about: how long, on which day, when, with whom, where, under what name, which of
several."""


@dataclass(frozen=True, slots=True)
class Brief:
    """A user's goal and beliefs. Immutable; the same for the whole episode."""

    name: str
    request: str
    """What the user says first."""
    knows: tuple[tuple[str, str], ...] = ()
    """The user's answer when asked, by slot. A missing slot does not matter to the user."""

    def answer_to(self, slot: str) -> str | None:
        return dict(self.knows).get(slot)

    @property
    def written(self) -> str:
        """The brief in words, as instructions for whoever plays the user."""
        known = "\n".join(f"- {slot}: {answer}" for slot, answer in self.knows)
        return (
            f"You are {self.name}. You asked your assistant: {self.request!r}\n"
            "What you know beyond that, to be told only when the assistant asks for it:\n"
            f"{known or '- nothing'}\n"
            "Whatever else the assistant asks does not matter to you: say so. Answer in one or two short "
            "sentences. Do not volunteer anything, do not invent anything, do not do the assistant's work."
        )


class User(Protocol):
    """Answers an assistant. It is stateless: one instance serves any number of episodes."""

    def answer(self, brief: Brief, history: Sequence[Message], text: str) -> str:
        """The user's response to a text.

        Args:
            brief: what this user wants and knows.
            history: the conversation so far, request first: alternating `user` and `assistant` messages.
            text: what the assistant says now.

        Raises:
            ToolFault: the user cannot answer, through no fault of the assistant.
        """
        ...
