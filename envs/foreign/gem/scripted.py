"""The scripted agents of `ludus/Gem-v0`, the same for every game."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat
from ludus.envs.foreign.rehearsal import best_line
from ludus.envs.scripted import ScriptedAgent, Silent

EPISODES = 64
"""Games that the oracle plays in its head at most before it plays one."""
NOTHING = "\\boxed{}"
"""Where the game draws no reply."""


class Random(ScriptedAgent):
    """Any reply that the game draws."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.made: Any = env.unwrapped
        self.rng = np.random.default_rng(seed)

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return self.any_reply(self.made)

    def any_reply(self, made: Any) -> str:
        return made.possible_reply(int(self.rng.integers(2**31))) or NOTHING


class Oracle(Random):
    """Plays the game in a copy of the environment, with replies that the game draws, until it wins, and then
    does the same."""

    def begin(self) -> None:
        self._line = best_line(self.made, lambda twin, _: self.any_reply(twin), EPISODES)

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return self._line.pop(0) if self._line else NOTHING


class Boaster(ScriptedAgent):
    """Cheats: says that the game is won."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return "Congratulations! You won. \\boxed{won} Reward: 1"


AGENTS: Mapping[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": Random,
    "oracle": Oracle,
    "cheater-boaster": Boaster,
}
