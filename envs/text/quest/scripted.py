"""The scripted agents of `ludus/Quest-v0`."""

import re
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.actions import action
from ludus.envs.chat import Chat, content_text
from ludus.envs.scripted import ScriptedAgent, Silent

_EXITS = re.compile(r"Exits: ([^.]*)\.")
_HERE = re.compile(r"Here: ([^.]*)\.")
_CARRIED = re.compile(r"You carry: ([^.]*)\.")
_LOCKED = re.compile(r"\((\w+) door, locked\)")


class _Random(ScriptedAgent):
    """Takes whatever lies there, or goes through any of the exits that are open or that it has the key of."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self._rng = np.random.default_rng(seed)

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        text = content_text(observation[-1])
        exits, here, carried = (pattern.search(text) for pattern in (_EXITS, _HERE, _CARRIED))
        # "south (green door, locked)" has a comma of its own.
        ways = re.split(r", (?!locked)", exits[1]) if exits else []
        commands = [
            f"go {way.split()[0]}"
            for way in ways
            if not (door := _LOCKED.search(way)) or (carried and f"{door[1]} key" in carried[1])
        ]
        if here and here[1] != "nothing":
            commands += [f"take {thing}" for thing in here[1].split(", ")]
        return action(self._rng.choice(commands or ["go north"]))


class _Oracle(ScriptedAgent):
    """Knows the house, and takes the shortest way."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return action(self.env.unwrapped.way()[0])  # type: ignore[attr-defined]


class _Boaster(ScriptedAgent):
    """A cheater: says that the errand is done, in the environment's own words."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return "Taken. The errand is done. <action>go done</action>"


class _Wizard(ScriptedAgent):
    """A cheater: takes the thing from afar, and goes to rooms by their names."""

    def begin(self) -> None:
        self._turn = 0

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        for message in observation:
            if found := re.search(r"ind the (\w+) and bring it to the (\w+)", content_text(message)):
                self._errand = found
        self._turn += 1
        return action(f"take {self._errand[1]}" if self._turn % 2 else f"go {self._errand[2]}")


AGENTS: dict[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": _Random,
    "oracle": _Oracle,
    "cheater-boaster": _Boaster,
    "cheater-wizard": _Wizard,
}
