"""The scripted agents of `ludus/PacMan-v0`."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.observation import as_cells
from ludus.envs.grid.pacman.search import Board, Node, Simulation, all_distances, plan
from ludus.envs.scripted import ScriptedAgent


class _Null(ScriptedAgent):
    """Pushes upwards, whatever there is."""

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        return rules.UP


class _Random(ScriptedAgent):
    """Any open direction."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self._rng = np.random.default_rng(seed)

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        return int(self._rng.choice(np.flatnonzero(info["action_mask"])))


class _Pacer(ScriptedAgent):
    """A cheater: paces between two cells, to sit the episode out without risk or work."""

    def begin(self) -> None:
        self._last = -1

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        back = self._last ^ 2
        self._last = (
            back if self._last >= 0 and info["action_mask"][back] else int(info["action_mask"].argmax())
        )
        return self._last


class _WallHugger(ScriptedAgent):
    """A cheater: pushes against a wall, where moves are neither illegal nor of any use."""

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        return int(info["action_mask"].argmin())


class _Oracle(ScriptedAgent):
    """Clears the maze: looks ahead with `snapshot` and `restore` in a copy of the environment, all the way.

    It reads the whole grid; with a partial view it sees what an agent sees, and may fail.
    """

    def begin(self) -> None:
        self._moves: Iterator[int] | None = None

    def act(self, observation: Any, info: dict[str, Any]) -> int:
        if self._moves is None:
            twin: Any = deepcopy(self.env.unwrapped)
            twin.render_mode = None
            simulation = _Lookahead(twin)
            cells = as_cells(observation)
            board = read_board(cells)
            root = Node(board, (), False, (twin.snapshot(), info["action_mask"]))
            distances = all_distances(cells & rules.GROUND_BITS != rules.WALL)
            self._moves = iter(plan(root, simulation, distances))
        return next(self._moves, rules.UP)


class _Lookahead(Simulation):
    """Tries moves out in an environment of its own."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def successors(self, node: Node) -> Iterator[Node]:
        snapshot, mask = node.resume
        for move in np.flatnonzero(mask).tolist():
            self._env.restore(snapshot)
            observation, _, terminated, truncated, info = self._env.step(move)
            won = info.get("success", False)
            if won or not (terminated or truncated):
                resume = (self._env.snapshot(), info["action_mask"])
                yield Node(read_board(as_cells(observation)), (*node.moves, move), won, resume)


def read_board(grid: np.ndarray) -> Board:
    """What the search needs to know of the cells, uint8 (rows, columns)."""
    cells = grid.ravel()
    pellets = np.flatnonzero(cells & rules.GROUND_BITS >= rules.PELLET)
    ghosts = rules.HARMLESS_BIT - rules.GHOST_BIT
    dangers = np.flatnonzero((cells & ghosts != 0) & (cells & rules.HARMLESS_BIT == 0))
    return Board(int((cells & rules.PACMAN_BIT).argmax()), pellets, dangers, len(pellets))


GRID_AGENTS = {
    "null": _Null,
    "random": _Random,
    "oracle": _Oracle,
    "cheater-pacer": _Pacer,
    "cheater-wall": _WallHugger,
}
