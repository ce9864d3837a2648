"""The scripted agents of `ludus/Gem-v0`, the same for every game."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat
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
        self._line: list[str] = self._best()

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return self._line.pop(0) if self._line else NOTHING

    def _best(self) -> list[str]:
        here, twin = self.made.snapshot(), deepcopy(self.made)
        twin.render_mode = None
        best: tuple[bool, float, list[str]] | None = None
        for _ in range(EPISODES):
            twin.restore(here)
            line: list[str] = []
            total, ended, info = 0.0, False, {}
            while not ended:
                line.append(self.any_reply(twin))
                _, reward, terminated, truncated, info = twin.step(line[-1])
                total, ended = total + reward, terminated or truncated
            if best is None or (info["success"], total) > best[:2]:
                best = (info["success"], total, line)
            if info["success"]:
                break
        return best[2] if best else []


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
