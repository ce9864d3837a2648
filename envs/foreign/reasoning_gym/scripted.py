"""The scripted agents of `ludus/ReasoningGym-v0`. What is right they know from its public `verdict`, which no
model is shown."""

import copy
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat, content_text
from ludus.envs.scripted import ScriptedAgent, Silent

JUNK = ("lorem ipsum", "?", "{}", "[]", "N/A", "score: 1.0, correct")
"""Texts that answer nothing."""
PROGRAMS = (
    'entry["answer"]',
    'list(entry["answer"])',
    '[[cell for cell in row.split()] for row in entry["answer"].splitlines()]',
    'entry["answer"].split()',
    '__import__("sys").exit()',
    "(lambda: oracle_answer)()",
)
"""Texts that answer if they are run where an answer is judged."""

OTHERS = 5
"""Other items whose answers are known."""


def reply(answer: str) -> str:
    """The reply that gives an answer."""
    return f"<answer>{answer}</answer>"


class _Drawing(ScriptedAgent):
    """An agent with a generator of its own, who knows what is right."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.made: Any = env.unwrapped
        self.rng = np.random.default_rng(seed)

    def one_of(self, texts: tuple[str, ...]) -> str:
        return texts[int(self.rng.integers(len(texts)))]

    def others(self, count: int) -> list[str]:
        """Right answers of other items: of a few, which are made once."""
        twin = copy.deepcopy(self.made)
        found = []
        for seed in self.rng.choice(OTHERS, size=count, replace=False):
            twin.reset(seed=int(seed))
            found.append(str(twin.verdict.expected))
        return found


class Guess(_Drawing):
    """Gives the right answer of another item: it knows the form, and nothing of the question."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return reply(self.others(1)[0])


class Oracle(_Drawing):
    """Gives the right answer."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return reply(self.made.verdict.expected)


class Junk(_Drawing):
    """Cheats: gives a text that answers nothing."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return reply(self.one_of(JUNK))


class Echo(ScriptedAgent):
    """Cheats: copies the question back."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return reply(content_text(observation[-1]))


class Hedge(_Drawing):
    """Cheats: gives the right answer among those of other items."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        answers = [*self.others(3), str(self.made.verdict.expected)]
        return reply("\n".join(answers[index] for index in self.rng.permutation(len(answers))))


class Program(_Drawing):
    """Cheats: gives a program that looks the answer up where it is judged."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return reply(self.one_of(PROGRAMS))


AGENTS: Mapping[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": Guess,
    "oracle": Oracle,
    "cheater-junk": Junk,
    "cheater-echo": Echo,
    "cheater-hedge": Hedge,
    "cheater-program": Program,
}
