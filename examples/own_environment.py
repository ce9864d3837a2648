"""An environment of one's own: guess a number between 1 and 100, told `higher` or `lower`.

`python examples/own_environment.py` plays it, `examples/check_own_environment.py` checks that it keeps the
contract. On the command line it is `examples.own_environment:example/Guess-v0`: for `ludus check`, `play`,
`eval` and `train` alike.
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

    ## Task
    The number is drawn from the seed.
    ## Observation
    One user message: the task, then `higher`, `lower`, `Yes!` or what was wrong with the reply.
    ## Actions
    A reply that holds one number from 1 to 100.
    ## Rewards
    `found`, weight 1: the number itself. `malformed`, weight -0.1: not one number from 1 to 100.
    ## End of episode
    Terminates when the number is found; truncated after 10 turns.
    ## Arguments
    - `render_mode`: `ansi`, `rgb_array`, or None for none.
    ## Version history
    - v0: first version.
    """

    rubric = Rubric({"found": 1.0, "malformed": -0.1}, form=("malformed",))
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

if __name__ == "__main__":
    env = gym.make("example/Guess-v0")
    messages, info = env.reset(seed=7)
    print(messages[0]["content"])
    agent = Bisect(env)
    agent.begin()
    ended = False
    while not ended:
        reply = agent.act(messages, info)
        messages, reward, terminated, truncated, info = env.step(reply)
        ended = terminated or truncated
        print(f"{reply}: {messages[0]['content']}")
