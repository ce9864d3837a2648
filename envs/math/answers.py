"""What a reply says: its tags, and the one number in its answer tag."""

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
    """1 / (1 + 10 d), with d = |given − answer| / max(|answer|, 1): 1 where they are equal, towards 0 far
    away."""
    scale = max(_size(answer), 1)
    # Written as a quotient of exact numbers that never exceeds 1, so that no value is too large for a float.
    return float(scale / (scale + _STEEPNESS * _size(given - answer)))


def _size(value: Number) -> Number:
    return -value if value < 0 else value


class Found(NamedTuple):
    """Where a reply's tags stand."""

    tidy: bool
    """The reply is reasoning in its tags, then something in the answer's tags, and nothing else."""
    partial: float
    """The share of the four tags that occur exactly once."""
    content: str | None
    """What the one pair of answer tags holds, without spaces around it; None where there is no such pair."""


class Reading(NamedTuple):
    """What was found in a reply."""

    exact: bool
    """The reply is reasoning in its tags, then an answer in its tags, and nothing else."""
    partial: float
    """The share of the four tags that occur exactly once."""
    number: Number | None
    """The number between the one pair of answer tags; None where there are more pairs, or no number."""


@dataclass(frozen=True)
class Tags:
    """The tags that a reply reasons and answers in.

    Raises:
        ArgumentError: for a name that is no tag's, or two names that are the same.
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
                    f"{argument}={name!r} is no tag's name: give letters, digits, '-' or '_', a letter "
                    "first, without angle brackets"
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
        """Find the tags and the number, in time linear in the text."""
        found = self.find(text)
        number = None if found.content is None else parse_number(found.content)
        return Reading(found.tidy and number is not None, found.partial, number)

    def find(self, text: str) -> Found:
        """Find the tags and what the answer tags hold, in time linear in the text."""
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
    """The tags that a system message names."""
    think, answer = re.findall(r"<([\w-]+)></\1>", content_text(observation[0]))
    return Tags(think, answer)
