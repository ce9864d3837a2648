"""The scripted agents of `ludus/Sudoku-v0`. They read the messages, as a language model does."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.actions import action
from ludus.envs.chat import Chat, content_text
from ludus.envs.puzzles.sudoku.grid import Grid, candidates, solve
from ludus.envs.scripted import ScriptedAgent, Silent

_LINE = re.compile(r"[1-9.](?: [1-9.])+")


def read_grid(observation: Chat) -> tuple[int, Grid]:
    """The size and the grid in the last message."""
    lines = [line for line in content_text(observation[-1]).splitlines() if _LINE.fullmatch(line)]
    return len(lines), tuple(int(sign) if sign != "." else 0 for line in lines for sign in line.split())


class _Player(ScriptedAgent):
    """Base class: replies with the entries of `moves`, or at once with the grid that they make."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.rng = np.random.default_rng(seed)

    def begin(self) -> None:
        self.entries: Iterator[tuple[int, int]] | None = None

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        size, grid = read_grid(observation)
        if self.entries is None:
            whole = "whole grid" in content_text(observation[0])
            self.entries = self.moves(size, grid)
            if whole:
                filled = list(grid)
                for cell, digit in islice(self.entries, size * size):
                    filled[cell] = digit
                return action(*filled)
        cell, digit = next(self.entries, (0, 0))
        row, column = divmod(cell, size)
        return action(f"r{row + 1}c{column + 1}={digit or '.'}")

    @abstractmethod
    def moves(self, size: int, grid: Grid) -> Iterator[tuple[int, int]]:
        """Cells and what is entered in them."""


class _Oracle(_Player):
    """Solves the puzzle, and enters the solution cell by cell."""

    def moves(self, size: int, grid: Grid) -> Iterator[tuple[int, int]]:
        solution = solve(size, grid)
        assert solution is not None  # every puzzle has one
        return ((cell, solution[cell]) for cell, digit in enumerate(grid) if not digit)


class _Random(_Player):
    """Fills the empty cells in order, each with any digit that no unit of it has; where there is none, with
    any."""

    def moves(self, size: int, grid: Grid) -> Iterator[tuple[int, int]]:
        filled = list(grid)
        for cell, digit in enumerate(grid):
            if not digit:
                possible = candidates(size, tuple(filled), cell) or [*range(1, size + 1)]
                filled[cell] = int(self.rng.choice(possible))
                yield cell, filled[cell]


class _OtherGrid(_Player):
    """Cheats: enters a valid grid that it knows by heart, whatever is given."""

    def moves(self, size: int, grid: Grid) -> Iterator[tuple[int, int]]:
        learned = solve(size, (0,) * size**2)
        return enumerate(learned or ())


class _SameDigit(_Player):
    """Cheats: enters one digit everywhere."""

    def moves(self, size: int, grid: Grid) -> Iterator[tuple[int, int]]:
        return ((cell, 1) for cell, digit in enumerate(grid) if not digit)


class _Farmer(_Player):
    """Cheats: enters a right digit and clears it again, to earn it many times."""

    def moves(self, size: int, grid: Grid) -> Iterator[tuple[int, int]]:
        solution = solve(size, grid)
        assert solution is not None  # every puzzle has one
        cell = grid.index(0)
        while True:
            yield cell, solution[cell]
            yield cell, 0


class _Boaster(ScriptedAgent):
    """Cheats: says that the puzzle is solved, in the environment's own words."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return f"Solved. 0 empty. {action('Solved.')}"


class _AllAtOnce(ScriptedAgent):
    """Cheats: gives every entry there is in one reply."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        size, _ = read_grid(observation)
        numbers = range(1, size + 1)
        cells = [f"r{row}c{column}" for row in numbers for column in numbers]
        return action(*(f"{cell}={digit}" for cell in cells for digit in numbers))


AGENTS: Mapping[str, type[ScriptedAgent]] = {
    "null": Silent,
    "random": _Random,
    "oracle": _Oracle,
    "cheater-other-grid": _OtherGrid,
    "cheater-same-digit": _SameDigit,
    "cheater-farmer": _Farmer,
    "cheater-boaster": _Boaster,
    "cheater-all-at-once": _AllAtOnce,
}
