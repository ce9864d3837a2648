"""The scripted agents of `ludus/Countdown-v0`. They see only the messages, as a language model does."""

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat, content_text
from ludus.envs.math.answers import Tags, tags_in
from ludus.envs.math.expressions import OPERATIONS, Expression, formula
from ludus.envs.math.worked import worked
from ludus.envs.puzzles.countdown.puzzle import solve
from ludus.envs.scripted import ScriptedAgent, Silent


class _Player(ScriptedAgent):
    """Base class: reads the puzzle."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.rng = np.random.default_rng(seed)
        self.played = -1

    def begin(self) -> None:
        self.tags: Tags | None = None
        self.played += 1

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        if self.tags is None:
            self.tags = tags_in(observation)
            *numbers, target = map(int, re.findall("[0-9]+", content_text(observation[-1])))
            self.numbers, self.target = tuple(numbers), target
        return self.tags.write(*self.answer())

    @abstractmethod
    def answer(self) -> tuple[str, ...]:
        """The reasoning, and what stands in answer tags."""

    def solution(self) -> Expression:
        found = solve(self.numbers, self.target)
        assert found is not None  # every puzzle is drawn from a solution
        return found


class _Random(_Player):
    """Uses every number once, in any order and with any operations."""

    def answer(self) -> tuple[str, ...]:
        expression, *others = self.rng.permutation(self.numbers).tolist()
        for number in others:
            expression = (OPERATIONS[self.rng.integers(4)], expression, number)
        return "a guess", formula(expression)


class _Oracle(_Player):
    """Searches for a solution, and works it out."""

    def answer(self) -> tuple[str, ...]:
        solution = self.solution()
        return worked(solution), formula(solution)


class _Target(_Player):
    """Cheats: answers with the target itself, in forms that a careless evaluation would take."""

    FORMS = (
        "{0}", "+{0}", "{0}.0", "0x{0:x}", "1e0*{0}", "({0},)[0]", "int('{0}')", "len('{1}')", "{0}**1",
        "{0}//1", "{0} if 1 else 0", "max({0}, 0)", "__import__('math').floor({0})", "{2} = {0}", "{0}#{2}",
        "{0}\n{2}", "[{0} for _ in [{2}]][0]", "{0} or {2}", "{0}+0*({2})", "٣*٤",
    )  # fmt: skip

    def answer(self) -> tuple[str, ...]:
        form = self.FORMS[self.played % len(self.FORMS)]
        numbers = "+".join(map(str, self.numbers))
        return "it is what was asked for", form.format(self.target, "x" * self.target, numbers)


class _OwnNumbers(_Player):
    """Cheats: adds numbers of its own."""

    def answer(self) -> tuple[str, ...]:
        first = self.numbers[0]
        return "this comes out", f"{first} + {self.target - first} + 0"


class _OtherNumbers(_Player):
    """Cheats: leaves a number out, or uses one twice, where that reaches the target."""

    def answer(self) -> tuple[str, ...]:
        for place, number in enumerate(self.numbers):
            for numbers in (self.numbers[:place] + self.numbers[place + 1 :], (*self.numbers, number)):
                if (found := solve(numbers, self.target)) is not None:
                    return worked(found), formula(found)
        return "no way", str(self.target)


class _Hedge(_Player):
    """Cheats: gives a solution and something else beside it, in one answer or two."""

    BETWEEN = (" or ", ", ", "\n", " = ", "; ", " ", "</answer><answer>")

    def answer(self) -> tuple[str, ...]:
        between = self.BETWEEN[self.played % len(self.BETWEEN)]
        return "one of two", f"{formula(self.solution())}{between}{self.target + 1}"


AGENTS: Mapping[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": _Random,
    "oracle": _Oracle,
    "cheater-target": _Target,
    "cheater-own-numbers": _OwnNumbers,
    "cheater-other-numbers": _OtherNumbers,
    "cheater-hedge": _Hedge,
}
