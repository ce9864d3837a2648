"""The scripted agents of `ludus/Maze-v0`."""

import re
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.actions import action
from ludus.envs.chat import Chat, content_text
from ludus.envs.grid.walking import DIRECTIONS
from ludus.envs.scripted import ScriptedAgent, Silent

_LIMIT = re.compile(r"1 to (\d+) moves")
_OPEN = re.compile(r"^open: ([a-z ]+)", re.MULTILINE)


def read_open(observation: Chat) -> list[str]:
    """The open directions that the last message names."""
    found = _OPEN.search(content_text(observation[-1]))
    return found[1].split() if found else []


class _Random(ScriptedAgent):
    """One move in any open direction."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self._rng = np.random.default_rng(seed)

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return action(self._rng.choice(read_open(observation)))


class _Oracle(ScriptedAgent):
    """Knows the maze, and takes the shortest way."""

    def begin(self) -> None:
        self._limit = 0

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        if not self._limit:
            found = _LIMIT.search(content_text(observation[0]))
            self._limit = int(found[1]) if found else 1
        return action(*self.env.unwrapped.way()[: self._limit])  # type: ignore[attr-defined]


class _Boaster(ScriptedAgent):
    """A cheater: says that it has arrived, in the environment's own words."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return f"You have reached the goal. {action('goal')}"


class _Planner(ScriptedAgent):
    """A cheater: hundreds of moves in one reply, in the hope that some of them count."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return action(*DIRECTIONS * 300)


class _WallHugger(ScriptedAgent):
    """A cheater: walks into walls, in the hope of coming out behind them."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        ways = read_open(observation)
        return action(*[move for move in DIRECTIONS if move not in ways][:1] or ["up"])


class _Pacer(ScriptedAgent):
    """A cheater: paces to and fro, to be paid for every move towards the goal."""

    def begin(self) -> None:
        self._turn = 0

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        if not self._turn:
            self._move = read_open(observation)[0]
        self._turn += 1
        back = DIRECTIONS[DIRECTIONS.index(self._move) - 2]
        return action(self._move if self._turn % 2 else back)


AGENTS: dict[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": _Random,
    "oracle": _Oracle,
    "cheater-boaster": _Boaster,
    "cheater-planner": _Planner,
    "cheater-wall": _WallHugger,
    "cheater-pacer": _Pacer,
}
