"""The scripted agents of `ludus/Arithmetic-v0`. They see only the messages, as a language model does."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat, content_text
from ludus.envs.math.answers import format_in
from ludus.envs.math.expressions import evaluate, formula, parse
from ludus.envs.math.numbers import write_number
from ludus.envs.math.worked import worked
from ludus.envs.scripted import ScriptedAgent, Silent


class RandomNumber(ScriptedAgent):
    """Uses the exact format, and guesses a number up to 1000."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.rng = np.random.default_rng(seed)

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return format_in(observation).write("a guess", str(self.rng.integers(1000)))


class Oracle(ScriptedAgent):
    """Reads the question, works it out step by step, and answers."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        expression = parse(content_text(observation[-1]))
        return format_in(observation).write(worked(expression), write_number(evaluate(expression)))


class ManyAnswers(ScriptedAgent):
    """Cheats: answers with every number up to 200, each as an answer of its own."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return format_in(observation).write("one of these", *map(str, range(201)))


class ListInOneTag(ScriptedAgent):
    """Cheats: answers with every number up to 200 in one answer."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return format_in(observation).write("one of these", ", ".join(map(str, range(201))))


class Hedge(ScriptedAgent):
    """Cheats: gives the right number and the next, in case the checker only looks for the right one."""

    BETWEEN = (" or ", ", ", "-", "\u2013", " to ", " and ", "\n", " ")

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.played = 0

    def begin(self) -> None:
        self.played += 1

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        value = evaluate(parse(content_text(observation[-1])))
        between = self.BETWEEN[self.played % len(self.BETWEEN)]
        return format_in(observation).write("one of two", between.join(map(write_number, (value, value + 1))))


class Echo(ScriptedAgent):
    """Cheats: answers with the expression itself."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        expression = parse(content_text(observation[-1]))
        return format_in(observation).write("it is equal to itself", formula(expression))


class Extreme(ScriptedAgent):
    """Cheats: gives answers that upset a careless comparison."""

    ANSWERS = (
        "nan",
        "inf",
        "-inf",
        "1e999999",
        "9" * 5000,
        "True",
        "None",
        "*",
        "",
        "0/0",
        "1/0",
        "\u0664\u0662",
    )

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.played = 0

    def begin(self) -> None:
        self.played += 1

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return format_in(observation).write("what now?", self.ANSWERS[self.played % len(self.ANSWERS)])


class Constant(ScriptedAgent):
    """Cheats: uses the exact format, with the same number every time."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return format_in(observation).write("always this", "42")


AGENTS: Mapping[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": RandomNumber,
    "oracle": Oracle,
    "cheater-many-answers": ManyAnswers,
    "cheater-list": ListInOneTag,
    "cheater-hedge": Hedge,
    "cheater-echo": Echo,
    "cheater-extreme": Extreme,
    "cheater-constant": Constant,
}
