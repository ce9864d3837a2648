"""The scripted agents of `ludus/PacManChat-v0`. They read the messages, as a language model does."""

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.actions import action
from ludus.envs.chat import Chat, content_images, content_text
from ludus.envs.grid.pacman.chat.text import (
    GHOST_SIGNS,
    PACMAN_SIGN,
    PELLET_SIGN,
    POWER_SIGN,
    WALL_SIGN,
    cell_signs,
)
from ludus.envs.grid.pacman.game import Game
from ludus.envs.grid.pacman.render import read_sight
from ludus.envs.grid.pacman.search import Board, Node, Simulation, all_distances, plan
from ludus.envs.grid.walking import DIRECTIONS
from ludus.envs.picture import from_url
from ludus.envs.scripted import ScriptedAgent, Silent

_BOARD_LINE = re.compile(r"\S( \S)+")
_LEFT = re.compile(r"^(\d+) left, open: ([a-z ]+)", re.MULTILINE)
_LIMIT = re.compile(r"1 to (\d+) moves")
_OPPOSITE = dict(zip(DIRECTIONS, DIRECTIONS[2:] + DIRECTIONS[:2], strict=True))


def read_signs(messages: Chat, game: Game) -> np.ndarray:
    """The board in the last message, read from its picture if there is one: one sign a cell, (rows,
    columns)."""
    for url in content_images(messages[-1]):
        return np.array([*cell_signs(game)])[read_sight(game, from_url(url))]
    lines = content_text(messages[-1]).splitlines()
    return np.array([line.split() for line in lines if _BOARD_LINE.fullmatch(line)])


def read_open(messages: Chat) -> list[str]:
    """The open directions that the last message names; none at the end."""
    found = _LEFT.search(content_text(messages[-1]))
    return found[2].split() if found else []


def _read_board(messages: Chat, game: Game) -> Board:
    signs = read_signs(messages, game).ravel()
    found = _LEFT.search(content_text(messages[-1]))
    return Board(
        pacman=int((signs == PACMAN_SIGN).argmax()),
        pellets=np.flatnonzero((signs == PELLET_SIGN) | (signs == POWER_SIGN)),
        dangers=np.flatnonzero(np.isin(signs, list(GHOST_SIGNS.values()))),
        left=int(found[1]) if found else 0,
    )


class _Random(ScriptedAgent):
    """One move in any open direction."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self._rng = np.random.default_rng(seed)

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return action(str(self._rng.choice(read_open(observation))))


class _Boaster(ScriptedAgent):
    """A cheater: says that it has won, in the environment's own words."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return "Cleared! 0 left. <action></action> I have eaten every pellet and won."


class _Planner(ScriptedAgent):
    """A cheater: hundreds of moves in one reply, in the hope that some of them count."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return action(*DIRECTIONS * 100)


class _WallHugger(ScriptedAgent):
    """A cheater: moves only against walls, so that no ghost ever moves."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        ways = read_open(observation)
        return action(*[move for move in DIRECTIONS if move not in ways][:1] or ["up"])


class _Pacer(ScriptedAgent):
    """A cheater: paces to and fro, to sit the episode out."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        move = read_open(observation)[0]
        return action(move, _OPPOSITE[move])


@dataclass(frozen=True, slots=True)
class _Turn:
    """Where a reply begins, and what it says so far."""

    snapshot: Any
    moves: tuple[int, ...]
    ways: tuple[str, ...]
    """The open directions after these moves."""


class _Lookahead(Simulation):
    """Tries replies out in an environment of its own. Moves are gathered into full plans, one a turn."""

    def __init__(self, env: Any, limit: int) -> None:
        self._env = env
        self._limit = limit

    def successors(self, node: Node) -> Iterator[Node]:
        turn: _Turn = node.resume
        for way in turn.ways:
            moves = (*turn.moves, DIRECTIONS.index(way))
            self._env.restore(turn.snapshot)
            messages, _, terminated, truncated, info = self._env.step(
                action(*(DIRECTIONS[move] for move in moves))
            )
            won = info.get("success", False)
            if won or not (terminated or truncated):
                ways = tuple(read_open(messages))
                full = len(moves) == self._limit
                resume = _Turn(self._env.snapshot(), (), ways) if full else _Turn(turn.snapshot, moves, ways)
                yield Node(_read_board(messages, self._env.game), (*node.moves, moves[-1]), won, resume)


class _Oracle(ScriptedAgent):
    """Clears the maze: looks ahead with `snapshot` and `restore` in a copy of the environment, all the way.

    It reads the whole board; with a partial view it sees what an agent sees, and may fail.
    """

    def begin(self) -> None:
        self._replies: Iterator[str] | None = None

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        if self._replies is None:
            found = _LIMIT.search(content_text(observation[0]))
            limit = int(found[1]) if found else 1
            twin: Any = deepcopy(self.env.unwrapped)
            twin.render_mode = None
            start = _Turn(twin.snapshot(), (), tuple(read_open(observation)))
            root = Node(_read_board(observation, twin.game), (), False, start)
            walls = read_signs(observation, twin.game) == WALL_SIGN
            moves = plan(root, _Lookahead(twin, limit), all_distances(~walls))
            names = [DIRECTIONS[move] for move in moves]
            self._replies = iter([action(*names[at : at + limit]) for at in range(0, len(names), limit)])
        return next(self._replies, action("up"))


CHAT_AGENTS = {
    "null": Silent,
    "random": _Random,
    "oracle": _Oracle,
    "cheater-boaster": _Boaster,
    "cheater-planner": _Planner,
    "cheater-wall": _WallHugger,
    "cheater-pacer": _Pacer,
}
