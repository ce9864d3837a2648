"""Reads the answer in a reply: the one number in its answer tag, or the last number of a plain text."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from ludus.envs.chat import Chat, content_text
from ludus.envs.errors import ArgumentError
from ludus.envs.math.expressions import Number
from ludus.envs.math.numbers import last_number, parse_number

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
    """Whether the reply is in the exact format."""
    partial: float
    """How much of the format it has, from 0 to 1."""
    number: Number | None
    """The answer; None if there is none, or more than the format allows."""


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

    def instructions(self, fractions: bool) -> str:
        """What a system message says of the format."""
        form = " (a fraction in lowest terms if need be)" if fractions else ""
        return (
            f"Reason in {self.open_think}{self.close_think}, then answer with one number{form} in "
            f"{self.open_answer}{self.close_answer}."
        )

    @property
    def reminder(self) -> str:
        """What to do, for one whose answer was not found."""
        return f"write one number, once, in {self.open_answer}{self.close_answer}"

    def write(self, reasoning: str, *answers: str) -> str:
        """A reply, in the exact format if there is one answer."""
        tagged = "".join(f"{self.open_answer}{answer}{self.close_answer}" for answer in answers)
        return f"{self.open_think}{reasoning}{self.close_think}{tagged}"

    def read(self, text: str) -> Reading:
        """The only number in the only pair of answer tags, found in linear time.

        The format is exact if the reply is nothing but tagged reasoning followed by a tagged number, and
        in part the share of the four tags that occur exactly once.
        """
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


class Plain:
    """A reply of plain text, whose last number is the answer."""

    def instructions(self, fractions: bool) -> str:
        """What a system message says of the format; nothing, so that a model answers as it likes to."""
        return "A fraction is in lowest terms." if fractions else ""

    @property
    def reminder(self) -> str:
        """What to do, for one whose answer was not found."""
        return "end your answer with one number"

    def write(self, reasoning: str, *answers: str) -> str:
        """A reply, whose answer is the last one."""
        return " ".join([reasoning, *(f"The answer is {answer}." for answer in answers)])

    def read(self, text: str) -> Reading:
        """The last number, found in linear time; a reply that names a number has all of the format."""
        number = last_number(text)
        return Reading(number is not None, float(number is not None), number)


ReplyFormat = Tags | Plain


def tags_in(observation: Chat) -> Tags:
    """The tags named in a system message."""
    think, answer = re.findall(r"<([\w-]+)></\1>", content_text(observation[0]))
    return Tags(think, answer)


def format_in(observation: Chat) -> ReplyFormat:
    """The format that an episode's first messages ask for."""
    return tags_in(observation) if "</" in content_text(observation[0]) else Plain()
