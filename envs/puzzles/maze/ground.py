"""Mazes with a start and a goal: where they are open, and how far the goal is from every cell."""

from collections import deque
from dataclasses import dataclass
from functools import cache

import numpy as np

from ludus.envs.grid.maze import FLOOR, SMALLEST, make_maze
from ludus.envs.grid.walking import DIRECTIONS, neighbours
from ludus.tools.compiling import compile_once


@dataclass(frozen=True, slots=True)
class Ground:
    """A maze with start and goal. Cells are numbered row by row."""

    size: int
    """Rows, and columns."""
    floor: bytes
    """1 for each open cell, 0 for a wall."""
    start: int
    goal: int
    distances: tuple[int, ...]
    """Moves from each cell to the goal; −1 for a wall."""

    @property
    def cells(self) -> np.ndarray:
        """uint8 (rows, columns): 0 wall, 1 floor."""
        return np.frombuffer(self.floor, np.uint8).reshape(self.size, self.size)

    def ways(self, cell: int) -> dict[str, int]:
        """The directions in which there is no wall, and the cells they lead to."""
        around = zip(DIRECTIONS, neighbours(cell, self.size), strict=True)
        return {direction: there for direction, there in around if self.floor[there] == FLOOR}

    def shortest_way(self, cell: int) -> list[str]:
        """The fewest moves to the goal."""
        moves = []
        while cell != self.goal:
            distance = self.distances[cell]
            move, cell = next(way for way in self.ways(cell).items() if self.distances[way[1]] < distance)
            moves.append(move)
        return moves


def draw_ground(rng: np.random.Generator, size: int) -> Ground:
    """A maze whose goal is any of its open cells, and its start one at least half as far from there as the
    farthest."""
    _compile()
    floor = make_maze(size, size, int(rng.integers(2**63))).tobytes()
    open_cells = [cell for cell, kind in enumerate(floor) if kind == FLOOR]
    goal = open_cells[int(rng.integers(len(open_cells)))]
    distances = _distances(floor, size, goal)
    far = [cell for cell in open_cells if 2 * distances[cell] >= max(distances)]
    return Ground(size, floor, far[int(rng.integers(len(far)))], goal, distances)


def _distances(floor: bytes, size: int, goal: int) -> tuple[int, ...]:
    distances = [-1] * len(floor)
    distances[goal] = 0
    waiting = deque([goal])
    while waiting:
        cell = waiting.popleft()
        for there in neighbours(cell, size):
            if floor[there] == FLOOR and distances[there] < 0:
                distances[there] = distances[cell] + 1
                waiting.append(there)
    return tuple(distances)


@cache
def _compile() -> None:
    """Compile what draws mazes, once in a process."""

    def draw() -> None:
        make_maze(SMALLEST, SMALLEST, 0)

    compile_once("mazes", draw)
