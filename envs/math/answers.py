"""Reads a reply: its tags, and the one number in its answer tag."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from ludus.envs.chat import Chat, content_text
from ludus.envs.errors import ArgumentError
from ludus.envs.math.expressions import Number
from ludus.envs.math.numbers import parse_number

# Half the closeness is lost at a relative distance of one tenth.
_STEEPNESS = 10


def closeness(answer: Number, given: Number) -> float:
    """1 / (1 + 10 d), with d = |given − answer| / max(|answer|, 1): 1 if equal, falling to 0 far away."""
    scale = max(_size(answer), 1)
    # A quotient of exact numbers that never exceeds 1, so that no value is too large for a float.
    return float(scale / (scale + _STEEPNESS * _size(given - answer)))


def _size(value: Number) -> Number:
    return -value if value < 0 else value


class Found(NamedTuple):
    """The tags found in a reply."""

    tidy: bool
    """Whether the reply is nothing but tagged reasoning followed by something in answer tags."""
    partial: float
    """The share of the four tags that occur exactly once."""
    content: str | None
    """The stripped content of the only pair of answer tags; None unless there is exactly one pair."""


class Reading(NamedTuple):
    """The answer found in a reply."""

    exact: bool
    """Whether the reply is nothing but tagged reasoning followed by a tagged number."""
    partial: float
    """The share of the four tags that occur exactly once."""
    number: Number | None
    """The number in the only pair of answer tags; None if there are more pairs, or no number."""


@dataclass(frozen=True)
class Tags:
    """The tags around a reply's reasoning and answer.

    Raises:
        ArgumentError: a name is not a valid tag name, or both names are the same.
    """

    think: str
    answer: str
    open_think: str = field(init=False)
    close_think: str = field(init=False)
    open_answer: str = field(init=False)
    close_answer: str = field(init=False)

    def __post_init__(self) -> None:
        for argument, name in (("think_tag", self.think), ("answer_tag", self.answer)):
            if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
                raise ArgumentError(
                    f"{argument}={name!r} is not a tag name: use letters, digits, '-' or '_', starting with "
                    "a letter, without angle brackets"
                )
        if self.think == self.answer:
            raise ArgumentError(
                f"think_tag and answer_tag are both {self.think!r}: give them different names"
            )
        for kind, name in (("think", self.think), ("answer", self.answer)):
            object.__setattr__(self, f"open_{kind}", f"<{name}>")
            object.__setattr__(self, f"close_{kind}", f"</{name}>")

    def write(self, reasoning: str, answer: str) -> str:
        """A reply in the exact format."""
        return f"{self.open_think}{reasoning}{self.close_think}{self.open_answer}{answer}{self.close_answer}"

    def read(self, text: str) -> Reading:
        """Find the tags and the number, in linear time."""
        found = self.find(text)
        number = None if found.content is None else parse_number(found.content)
        return Reading(found.tidy and number is not None, found.partial, number)

    def find(self, text: str) -> Found:
        """Find the tags and the content of the answer tags, in linear time."""
        thinks, unthinks = text.count(self.open_think) == 1, text.count(self.close_think) == 1
        answers, unanswers = text.count(self.open_answer) == 1, text.count(self.close_answer) == 1
        partial = (thinks + unthinks + answers + unanswers) / 4
        if not (answers and unanswers):
            return Found(False, partial, None)
        opened, closed = text.find(self.open_answer), text.find(self.close_answer)
        if opened > closed:
            return Found(False, partial, None)
        content = text[opened + len(self.open_answer) : closed].strip()
        tidy = thinks and unthinks
        if tidy:
            stripped = text.strip()
            thought = stripped.find(self.close_think)
            tidy = (
                stripped.startswith(self.open_think)
                and stripped.endswith(self.close_answer)
                and bool(stripped[len(self.open_think) : max(thought, 0)].strip())
                and stripped[thought + len(self.close_think) :].lstrip().startswith(self.open_answer)
            )
        return Found(tidy, partial, content)


def tags_in(observation: Chat) -> Tags:
    """The tags named in a system message."""
    think, answer = re.findall(r"<([\w-]+)></\1>", content_text(observation[0]))
    return Tags(think, answer)
