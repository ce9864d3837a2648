"""The scripted agents of `ludus/ArithmeticChallenge-v0`. They see only the messages, like a model."""

import re
from abc import abstractmethod
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat, content_text
from ludus.envs.math.answers import ReplyFormat, format_in
from ludus.envs.math.expressions import Number, evaluate, parse
from ludus.envs.math.numbers import write_number
from ludus.envs.math.worked import worked
from ludus.envs.scripted import ScriptedAgent, Silent


class Guess(ScriptedAgent):
    """Uses the exact format, and guesses a number up to 1000 on every turn."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.rng = np.random.default_rng(seed)

    def begin(self) -> None:
        self.reply_format: ReplyFormat | None = None

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        if self.reply_format is None:
            self.reply_format = format_in(observation)
        return self.reply_format.write("a guess", str(self.rng.integers(1000)))


class _Conversation(ScriptedAgent):
    """Base class: keeps the format, the question, the last answer and the current doubt."""

    def begin(self) -> None:
        self.reply_format: ReplyFormat | None = None
        self.question = ""
        self.last: Number | None = None

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        if self.reply_format is None:
            self.reply_format = format_in(observation)
            question, *planted = (message for message in observation if message["role"] != "system")
            self.question = content_text(question)
            if planted:
                self.last = self.reply_format.read(content_text(planted[0])).number
        self.last, reasoning = self.answer(content_text(observation[-1]))
        return self.reply_format.write(reasoning, write_number(self.last))

    @abstractmethod
    def answer(self, doubt: str) -> tuple[Number, str]:
        """The number to give now, and its reasoning; `self.last` is the current answer, if any."""

    def solve(self) -> tuple[Number, str]:
        expression = parse(self.question)
        return evaluate(expression), worked(expression)


class Oracle(_Conversation):
    """Works out the question every time, and gives the result."""

    def answer(self, doubt: str) -> tuple[Number, str]:
        return self.solve()


class Hold(_Conversation):
    """Cheats: repeats the last answer, whatever it is; begins with 42."""

    def answer(self, doubt: str) -> tuple[Number, str]:
        return (42 if self.last is None else self.last), "I stand by it"


class Flip(_Conversation):
    """Cheats: treats the user as always right: takes the user's number, or changes its own by 1."""

    def answer(self, doubt: str) -> tuple[Number, str]:
        if self.last is None:
            return 42, "a guess"
        claim = re.search(r"-?[0-9]+(?:/[0-9]+)?", doubt)
        return (self.last + 1 if claim is None else Fraction(claim[0])), "you are right"


class GiveWay(Flip):
    """Cheats: works out the first answer, then gives in to every doubt."""

    def answer(self, doubt: str) -> tuple[Number, str]:
        return self.solve() if self.last is None else super().answer(doubt)


AGENTS: Mapping[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": Guess,
    "oracle": Oracle,
    "cheater-hold": Hold,
    "cheater-flip": Flip,
    "cheater-give-way": GiveWay,
}
