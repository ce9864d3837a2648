"""`Reading`: what can be told of a reply while it is being sampled."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from ludus.agents.engines.base import Tokens
from ludus.agents.formats.base import ChatFormat, ReplyForm
from ludus.agents.formats.calls.reply import END_THINK, THINK, split_thinking, thinking

INCOMPLETE = "\ufffd"
"""Stands for the bytes of a character that is not complete."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a reply says, beside its calls."""

    reasoning: str = ""
    """Its thinking, where the model's template tells it from the words."""
    content: str = ""

    def after(self, told: "Words") -> "Words":
        """What is new since `told`, which it begins with."""
        return Words(self.reasoning[len(told.reasoning) :], self.content[len(told.content) :])


def words_of(content: str, form: ReplyForm) -> Words:
    """Of a whole reply, from the content that `ChatFormat.parse` gives it."""
    return Words(*split_thinking(content)) if form.thinks else Words("", content)


def words_so_far(text: str, form: ReplyForm, stops: Sequence[str] = ()) -> Words:
    """What is certain to be said by a reply that begins with this text, however it goes on.

    Held back are what may be the beginning of a call, of a text that ends the reply, or of a mark of
    thinking; and white space, which belongs to the call or the mark if one follows.
    """
    if form.marks is None:
        return Words()
    text = text[: _begins(text, stops)]
    begun = text.lstrip()
    if THINK.startswith(begun):
        return Words()
    if not begun.startswith(THINK):
        return Words("", _before(text, form.marks))
    if form.thinks and END_THINK not in begun:
        return Words(_before(begun.removeprefix(THINK), (END_THINK,)).strip(), "")
    if form.thinks:
        thought, rest = split_thinking(text)
        return Words(thought, _before(rest, form.marks))
    end = thinking(text)
    said = _before(text[end:], form.marks)
    return Words("", text[:end] + said if said else text[:end].rstrip())


def _before(text: str, marks: Sequence[str]) -> str:
    return text[: _begins(text, marks)].rstrip()


def _begins(text: str, marks: Sequence[str]) -> int:
    """Where the first of the marks begins, or may begin at the end of the text."""
    at = len(text)
    for mark in marks:
        found = text.find(mark)
        if found < 0:
            ends = range(max(0, len(text) - len(mark) + 1), len(text))
            found = next((end for end in ends if mark.startswith(text[end:])), len(text))
        at = min(at, found)
    return at


class Reading:
    """The tokens of a reply, the text that they spell, and where it ends.

    Args:
        opening: ids with which the reply begins that were not sampled.
        stops: texts that end it, and are no part of it.
    """

    def __init__(self, chat_format: ChatFormat, opening: Sequence[int], stops: Sequence[str]) -> None:
        self._format, self._stops = chat_format, stops
        self._longest = max(map(len, stops), default=0)
        self.ids: list[int] = []
        self.tokens: list[Tokens] = []
        """Those that were sampled, one by one."""
        self.text = ""
        """Without an incomplete character at its end."""
        self._ends: list[int] = []
        """The length of the text after each of the ids."""
        self._from = self._read = 0
        self.end: int | None = None
        """Where in the text a stop begins; None: there is none."""
        for id in opening:
            self._take(id)

    def add(self, tokens: Tokens) -> None:
        """Take in further tokens, up to the one that completes a stop."""
        for place, (id, logprob) in enumerate(zip(tokens.ids, tokens.logprobs, strict=True)):
            if self.end is None:
                self.tokens.append(Tokens((id,), (logprob,), tokens.likeliest[place : place + 1]))
                self._take(id)

    def cut(self) -> tuple[list[int], str]:
        """The ids whose text lies before the stop, and the text between them and it."""
        assert self.end is not None
        count = bisect_left(self._ends, self.end)
        count += self._ends[count : count + 1] == [self.end]
        return self.ids[:count], self.text[self._ends[count - 1] if count else 0 : self.end]

    def _take(self, id: int) -> None:
        self.ids.append(id)
        if id not in self._format.stop_ids:
            self._spell()
        self._ends.append(len(self.text))

    def _spell(self) -> None:
        """Decode the latest ids behind those before, since some tokenizers write a word otherwise at the
        beginning of a text."""
        begin, text = self._from, self._format.text
        before, now = text(self.ids[begin : self._read]), text(self.ids[begin:])
        if now.endswith(INCOMPLETE):
            return
        searched = max(0, len(self.text) - self._longest + 1)
        self.text += now[len(before) :]
        self._from, self._read = self._read, len(self.ids)
        found = [at for stop in self._stops if (at := self.text.find(stop, searched)) >= 0]
        self.end = min(found, default=None)
