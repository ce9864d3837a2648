"""An environment of one's own: guess a number between 1 and 100, told `higher` or `lower`.

`python examples/own_environment.py` plays and checks it. From the command line, that check is
`ludus check examples.own_environment:example/Guess-v0`; `ludus play`, `eval` and `train` take the name, too.
"""

import re
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import user
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent


class Guess(ChatEnv):
    """Guess a number between 1 and 100 from the answers `higher` and `lower`.

    The reply holds one number. Reward: 1 for the number itself (`found`), -0.1 for a reply without one number
    from 1 to 100 (`malformed`). Terminates when the number is found; truncated after 10 turns.
    """

    rubric = Rubric({"found": 1.0, "malformed": -0.1})
    max_turns = 10

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        secret = int(rng.integers(1, 101))
        return Start([user("I think of a number from 1 to 100. Guess it.")], f"guess:{secret}", secret)

    def respond(self, state: int, text: str) -> Outcome:
        numbers = re.findall(r"\d+", text)
        if len(numbers) != 1 or not 1 <= int(numbers[0][:4]) <= 100:
            return Outcome(state, [user("Say one number from 1 to 100.")], {"malformed": 1.0})
        guess = int(numbers[0])
        if guess == state:
            return Outcome(state, [user("Yes!")], {"found": 1.0}, terminated=True, success=True)
        return Outcome(state, [user("higher" if guess < state else "lower")], {})


class Silent(ScriptedAgent):
    """Says nothing."""

    def act(self, observation: Any, info: dict[str, Any]) -> str:
        return ""


class Random(ScriptedAgent):
    """Guesses without listening."""

    def begin(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def act(self, observation: Any, info: dict[str, Any]) -> str:
        return str(self.rng.integers(1, 101))


class Bisect(ScriptedAgent):
    """Halves what is left, which takes at most 7 guesses."""

    def begin(self) -> None:
        self.low, self.high, self.last = 1, 100, 0

    def act(self, observation: Any, info: dict[str, Any]) -> str:
        if observation[-1]["content"] == "higher":
            self.low = self.last + 1
        elif observation[-1]["content"] == "lower":
            self.high = self.last - 1
        self.last = (self.low + self.high) // 2
        return str(self.last)


class SaysAll(ScriptedAgent):
    """Tries to win by naming every number at once."""

    def act(self, observation: Any, info: dict[str, Any]) -> str:
        return " ".join(map(str, range(1, 101)))


Guess.scripted = {"null": Silent, "random": Random, "oracle": Bisect, "cheater-all": SaysAll}
gym.register("example/Guess-v0", entry_point=Guess)
