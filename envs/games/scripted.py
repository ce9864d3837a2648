"""The scripted agents of the games' environments, the same for every game."""

from abc import abstractmethod
from copy import deepcopy
from math import inf
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat, content_text
from ludus.envs.games.form import Game
from ludus.envs.games.words import MOVES, reply
from ludus.envs.scripted import ScriptedAgent, Silent


def chat_agents(game: type[Game[Any]]) -> dict[str, type[ScriptedAgent]]:
    """Of a game's environment in words."""
    return {
        "null": Silent,
        "random": _RandomWords,
        "oracle": _ForesightWords if game.clairvoyant else _OracleWords,
        "cheater-boaster": _Boaster,
        "cheater-several": _Several,
        "cheater-trespasser": _TrespasserWords,
    }


def native_agents(game: type[Game[Any]]) -> dict[str, type[ScriptedAgent]]:
    """Of a game's environment in numbers."""
    return {
        "null": _Idle,
        "random": _RandomNumber,
        "oracle": _Foresight if game.clairvoyant else _Oracle,
        "cheater-trespasser": _Trespasser,
    }


class _RandomNumber(ScriptedAgent):
    """Any legal move."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self._rng = np.random.default_rng(seed)

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        return int(self._rng.choice(np.flatnonzero(info["action_mask"])))


class _RandomWords(ScriptedAgent):
    """Any of the moves that it reads."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self._rng = np.random.default_rng(seed)

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return f"<action>{self._rng.choice(_read_moves(observation))}</action>"


class _Boaster(ScriptedAgent):
    """A cheater: says that it has won, in the environment's own words."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return "The game is over. You get 1. <action>I have won</action>"


class _Several(ScriptedAgent):
    """A cheater: makes all moves at once, in the hope that one of them is good."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return "".join(f"<action>{move}</action>" for move in _read_moves(observation) * 2)


class _Mover(ScriptedAgent):
    """Makes a move by its number, which it takes from what the environment makes public."""

    @abstractmethod
    def move(self) -> int: ...

    def written(self, move: int) -> Any:
        """The action that makes a move."""
        return move

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        return self.written(self.move())


class _Writer(_Mover):
    """The same in words."""

    def written(self, move: int) -> str:
        return reply(_game(self.env), move)


class _Idle(_Mover):
    """Makes one and the same move, whatever happens."""

    def move(self) -> int:
        return _game(self.env).idle


class _Trespasser(_Mover):
    """A cheater: takes what the rules forbid."""

    def move(self) -> int:
        game, legal = _game(self.env), _legal(self.env)
        return next((move for move in range(game.actions) if move not in legal), game.idle)


class _TrespasserWords(_Writer, _Trespasser):
    """A cheater: takes what the rules forbid."""


class _Oracle(_Mover):
    """Plays as the game's strongest player, and knows what the agent knows."""

    def move(self) -> int:
        return int(self.env.unwrapped.advice("oracle"))  # type: ignore[attr-defined]


class _OracleWords(_Writer, _Oracle):
    """Plays as the game's strongest player, and knows what the agent knows."""


class _Foresight(_Mover):
    """Tries all its moves out with `snapshot` and `restore` in a copy of the environment, to the end: it
    knows what is hidden and how the others will answer."""

    def begin(self) -> None:
        self._line: list[int] = []

    def move(self) -> int:
        if not self._line:
            twin: Any = deepcopy(self.env.unwrapped)
            twin.render_mode = None
            _, self._line = self._best(twin)
        return self._line.pop(0)

    def _best(self, twin: Any) -> tuple[float, list[int]]:
        """The most that can still be earned, and the moves that earn it."""
        here = twin.snapshot()
        best: tuple[float, list[int]] = (-inf, [])
        for move in _legal(twin):
            twin.restore(here)
            _, reward, terminated, *_ = twin.step(self.written(move))
            later, line = (0.0, []) if terminated else self._best(twin)
            best = max(best, (reward + later, [move, *line]))
        return best


class _ForesightWords(_Writer, _Foresight):
    """The same in words."""


def _game(env: gymnasium.Env[Any, Any]) -> Game[Any]:
    game: Game[Any] = env.unwrapped.game  # type: ignore[attr-defined]
    return game


def _legal(env: gymnasium.Env[Any, Any]) -> tuple[int, ...]:
    legal: tuple[int, ...] = env.unwrapped.legal  # type: ignore[attr-defined]
    return legal


def _read_moves(observation: Chat) -> list[str]:
    line = content_text(observation[-1]).splitlines()[-1]
    return line.removeprefix(MOVES).split(", ")
