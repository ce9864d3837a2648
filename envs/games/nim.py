"""`ludus/Nim-v0` and `ludus/NimChat-v0`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from itertools import product
from operator import xor
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_integer
from ludus.envs.games.environment import GameChat, GameEnv
from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.minimax import minimax
from ludus.envs.games.picture import board_picture
from ludus.envs.games.player import any_of, random


@dataclass(frozen=True, slots=True)
class Heaps:
    """What lies in each heap, and whose turn it is; no heaps before chance has laid them out."""

    heaps: tuple[int, ...] = ()
    mover: int = 0


def nim_sum(heaps: tuple[int, ...]) -> int:
    """The exclusive or of the heaps: 0 where who is to move loses against a perfect player (Bouton 1901)."""
    return reduce(xor, heaps, 0)


@cache
def _deals(heaps: int, largest: int) -> tuple[tuple[float, Heaps], ...]:
    """All heaps from which who begins can win, equally probable."""
    every = product(range(1, largest + 1), repeat=heaps)
    winnable = [Heaps(each) for each in every if nim_sum(each)]
    return tuple((1 / len(winnable), each) for each in winnable)


@dataclass(frozen=True)
class Nim(Game[Heaps]):
    """Take from one of several heaps; who takes the last object wins."""

    heaps: int = 3
    largest: int = 7

    name: ClassVar[str] = "Nim"
    is_open: ClassVar[bool] = True
    opponents: ClassVar[tuple[str, ...]] = ("oracle:50", "minimax:2", "oracle:75", "minimax:4", "oracle")
    example: ClassVar[int] = 1
    idle: ClassVar[int] = 6
    task: ClassVar[str] = """
        Some heaps lie there. In turn, each side takes as many objects as it likes, at least one, from one
        heap. Who takes the last object of all wins. The heaps are drawn so that who begins can win: among
        all with 1 to `largest` objects in which the exclusive or of the heaps is not 0. `oracle` moves so
        that it becomes 0, wherever it can."""
    looks: ClassVar[str] = "for each heap, 1 where it has at least as many objects as the place's number."
    moves: ClassVar[str] = (
        "`2 from a`: number `largest · heap + objects − 1`, where the heaps `a`, `b`, `c` are 0, 1, 2."
    )
    target: ClassVar[str] = "a win"
    settings: ClassVar[tuple[str, ...]] = (
        "`heaps` (3): how many, 2 to 4.",
        "`largest` (7): the most objects in a heap at the start, 1 to 9.",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "heaps", as_integer("heaps", self.heaps, 2, 4))
        object.__setattr__(self, "largest", as_integer("largest", self.largest, 1, 9))

    @property
    def actions(self) -> int:
        return self.heaps * self.largest

    @property
    def shape(self) -> tuple[int, ...]:
        return self.heaps, self.largest

    @property
    def longest(self) -> int:
        return self.heaps * self.largest

    def start(self) -> Heaps:
        return Heaps()

    def to_move(self, state: Heaps) -> tuple[int, ...]:
        return (state.mover,) if any(state.heaps) else ()

    def chance(self, state: Heaps) -> tuple[tuple[float, Heaps], ...]:
        if state.heaps:
            return ()
        return _deals(self.heaps, self.largest)

    def legal(self, state: Heaps, seat: int) -> tuple[int, ...]:
        return tuple(
            self.largest * heap + taken for heap, size in enumerate(state.heaps) for taken in range(size)
        )

    def play(self, state: Heaps, moves: Mapping[int, int]) -> Heaps:
        ((seat, move),) = moves.items()
        heap, taken = divmod(move, self.largest)
        heaps = list(state.heaps)
        heaps[heap] -= taken + 1
        return Heaps(tuple(heaps), 1 - seat)

    def outcome(self, state: Heaps) -> tuple[float, ...] | None:
        if not state.heaps or any(state.heaps):
            return None
        return (-1.0, 1.0) if state.mover == 0 else (1.0, -1.0)

    def word(self, move: int) -> str:
        heap, taken = divmod(move, self.largest)
        return f"{taken + 1} from {'abcd'[heap]}"

    def rules(self, seat: int) -> str:
        return (
            "Nim. In turn, each side takes one or more objects from one heap. Who takes the last object of "
            "all wins."
        )

    def tell(self, view: View) -> str:
        state, _ = view
        return self.board(state)

    def array(self, view: View) -> np.ndarray:
        state, _ = view
        return (np.arange(self.largest) < np.array(state.heaps)[:, None]).astype(np.float32)

    def board(self, state: Heaps) -> str:
        return "\n".join(f"{'abcd'[heap]}: {size}" for heap, size in enumerate(state.heaps))

    def picture(self, state: Heaps) -> np.ndarray:
        rows = [["o" * (place < size) for place in range(self.largest)] for size in state.heaps]
        return board_picture(rows, {"o": (70, 110, 160)}, (240, 236, 224))

    def par(self, state: Heaps, seat: int) -> float:
        return 1.0

    def minimax(self, depth: int) -> Strategy:
        return minimax(self, lambda state, seat: 0.0, depth)

    players: ClassVar[Mapping[str, Callable[[Any], Strategy]]] = {"oracle": lambda game: _perfect(game)}


def _perfect(game: Nim) -> Strategy:
    """Leaves heaps whose exclusive or is 0; any move where it cannot."""

    def play(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
        state, seat = view
        winning = {move for move in legal if not nim_sum(game.play(state, {seat: move}).heaps)}
        return any_of(winning, legal) if winning else random(view, legal)

    return play


class NimChat(GameChat, game=Nim):
    pass


class NimEnv(GameEnv, chat=NimChat):
    pass
