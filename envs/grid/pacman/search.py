"""A beam search through a game whose future can be tried out, for the scripted oracles of Pac-Man."""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

_WIDTHS = (12, 48, 200)
"""Beams to try, one after the other, until one clears the maze."""
_BOREDOM = 0.5
_SAFE = 5
"""A dangerous ghost this many cells away or more is as good as none."""


@dataclass(frozen=True, slots=True)
class Board:
    """What the search needs to know of a position. Cells are numbered row by row."""

    pacman: int
    pellets: np.ndarray
    """Cells with something to eat, as far as seen."""
    dangers: np.ndarray
    """Cells with a dangerous ghost."""
    left: int
    """How much there is left to eat."""


@dataclass(frozen=True, slots=True)
class Node:
    """A position that some moves lead to."""

    board: Board
    moves: tuple[int, ...]
    won: bool
    resume: Any
    """From where the simulation can try what comes next."""


class Simulation(ABC):
    """A game that can be tried out."""

    @abstractmethod
    def successors(self, node: Node) -> Iterable[Node]:
        """The positions one move further, without those in which the game is lost or over."""


def plan(root: Node, simulation: Simulation, distances: np.ndarray) -> tuple[int, ...]:
    """Moves that clear the maze; or, where the widest beam finds none, those that stay alive longest."""
    longest: tuple[int, ...] = ()
    for width in _WIDTHS:
        beam = [root]
        # How often the beam has been somewhere without eating since. Where ghosts keep it from a pellet,
        # this drives it away, and the ghosts after it.
        visits: Counter[Hashable] = Counter()
        while beam:
            longest = max(longest, beam[0].moves, key=len)
            reached: dict[Hashable, tuple[float, Node]] = {}
            for node in beam:
                for successor in simulation.successors(node):
                    if successor.won:
                        return successor.moves
                    key = (successor.board.pacman, successor.board.pellets.tobytes())
                    cost = _cost(successor.board, distances) + _BOREDOM * visits[key]
                    if key not in reached or cost < reached[key][0]:
                        reached[key] = (cost, successor)
            kept = sorted(reached.items(), key=lambda item: item[1][0])[:width]
            visits.update(key for key, _ in kept)
            beam = [node for _, (_, node) in kept]
    return longest


def _cost(board: Board, distances: np.ndarray) -> float:
    """How far a position is from a cleared maze: what is left, the way to the nearest, ghosts nearby."""
    ways = distances[board.pacman]
    nearest = float(ways[board.pellets].min()) if len(board.pellets) else 0.0
    danger = _SAFE - min(float(ways[board.dangers].min()), _SAFE) if len(board.dangers) else 0.0
    return 2.0 * board.left + nearest + 0.5 * danger


def all_distances(floor: np.ndarray) -> np.ndarray:
    """Steps between any two cells, float32 (rows·columns, rows·columns); infinite where there is no way.

    `floor`: bool (rows, columns), its border all False.
    """
    columns, open_ = floor.shape[1], floor.ravel().tolist()
    distances = np.full((floor.size, floor.size), np.inf, np.float32)
    for start in np.flatnonzero(floor):
        ways = {int(start): 0}
        queue = deque(ways)
        while queue:
            cell = queue.popleft()
            for neighbour in (cell - columns, cell + 1, cell + columns, cell - 1):
                if open_[neighbour] and neighbour not in ways:
                    ways[neighbour] = ways[cell] + 1
                    queue.append(neighbour)
        distances[start, list(ways)] = list(ways.values())
    return distances
