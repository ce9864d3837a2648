"""`ludus/Othello-v0` and `ludus/OthelloChat-v0`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ludus.envs.errors import ArgumentError
from ludus.envs.games.environment import GameChat, GameEnv
from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.othello.solver import Squares, squares
from ludus.envs.games.picture import board_picture
from ludus.envs.games.player import any_of

_SIGNS = "XO"
EXACT_LEFT = 14
"""With so many empty squares, or fewer, the oracle looks to the end."""
DEPTH = 8
"""Before that, so many moves ahead."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides' discs as bitboards, and whose turn it is."""

    discs: tuple[int, int]
    mover: int = 0


@dataclass(frozen=True)
class Othello(Game[Sides]):
    """Othello: enclose the other side's discs to turn them over."""

    size: int = 6

    name: ClassVar[str] = "Othello"
    is_open: ClassVar[bool] = True
    legend: ClassVar[str] = "X is black, O is white."
    opponents: ClassVar[tuple[str, ...]] = ("random", "minimax:1", "minimax:3", "minimax:5", "oracle")
    example: ClassVar[int] = 8
    task: ClassVar[str] = """
        In turn, both sides place a disc so that it encloses a row of the other side's, straight or diagonal,
        between itself and another disc of its own; all that are enclosed are turned over. Who cannot, passes,
        and must; if neither can, the game is over, and who has more discs wins. X begins. On 6 × 6 squares
        the second side can win, 20 to 16 (Feinstein 1993). `minimax:3` counts corners and moves to choose
        from three moves ahead; `oracle` looks eight ahead, and with 14 empty squares or fewer to the end."""
    looks: ClassVar[str] = (
        "rows from above, columns, with 1 in the last axis for a disc of the agent's, of the other's."
    )
    moves: ClassVar[str] = (
        "A square: `a6` is the upper left, number 0, `f1` the lower right; or `pass`, the last number."
    )
    target: ClassVar[str] = "a draw or a win"
    settings: ClassVar[tuple[str, ...]] = ("`size` (6): 4 or 6 squares a side.",)

    def __post_init__(self) -> None:
        if self.size not in (4, 6):
            raise ArgumentError(f"size={self.size!r}: give 4 or 6, the squares of a side")

    @property
    def actions(self) -> int:
        return self.size**2 + 1

    @property
    def shape(self) -> tuple[int, ...]:
        return self.size, self.size, 2

    @property
    def longest(self) -> int:
        # Of two passes in a row the game ends, so each follows a disc.
        return self.size**2 - 4

    @property
    def _squares(self) -> Squares:
        return squares(self.size)

    @property
    def _pass(self) -> int:
        return self.size**2

    def start(self) -> Sides:
        # X on the rising diagonal of the middle, seen from below.
        upper = self.size * (self.size // 2 - 1) + self.size // 2 - 1
        lower = upper + self.size
        return Sides((1 << upper + 1 | 1 << lower, 1 << upper | 1 << lower + 1))

    def to_move(self, state: Sides) -> tuple[int, ...]:
        return () if self._is_over(state) else (state.mover,)

    def legal(self, state: Sides, seat: int) -> tuple[int, ...]:
        places = self._squares.moves(state.discs[seat], state.discs[1 - seat])
        return tuple(place for place in range(self._pass) if places >> place & 1) or (self._pass,)

    def play(self, state: Sides, moves: Mapping[int, int]) -> Sides:
        ((seat, move),) = moves.items()
        if move == self._pass:
            return Sides(state.discs, 1 - seat)
        own, other = state.discs[seat], state.discs[1 - seat]
        flipped = self._squares.flips(own, other, 1 << move)
        own, other = own | flipped | 1 << move, other ^ flipped
        return Sides((own, other) if seat == 0 else (other, own), 1 - seat)

    def outcome(self, state: Sides) -> tuple[float, ...] | None:
        if not self._is_over(state):
            return None
        first, second = (side.bit_count() for side in state.discs)
        won = float(first > second) - float(first < second)
        return won, -won

    def _is_over(self, state: Sides) -> bool:
        first, second = state.discs
        return not self._squares.moves(first, second) and not self._squares.moves(second, first)

    def word(self, move: int) -> str:
        row, column = divmod(move, self.size)
        return "pass" if move == self._pass else f"{'abcdef'[column]}{self.size - row}"

    def rules(self, seat: int) -> str:
        return (
            f"Othello on {self.size} by {self.size} squares. You are {_SIGNS[seat]}; X begins. A move is a "
            "square on which your disc encloses a row of the other side's, straight or diagonal, with "
            "another disc of yours; these are turned over. Who has no move must say pass. Who has more discs "
            "at the end wins. Columns are letters, rows are numbers from below."
        )

    def tell(self, view: View) -> str:
        state, seat = view
        return f"{self.board(state)}\nYou are {_SIGNS[seat]}."

    def array(self, view: View) -> np.ndarray:
        state, seat = view
        places = np.arange(self._pass).reshape(self.size, self.size)
        sides = [state.discs[seat], state.discs[1 - seat]]
        return np.stack([side >> places & 1 for side in sides], axis=-1).astype(np.float32)

    def board(self, state: Sides) -> str:
        rows = [
            f"{self.size - number} {' '.join(sign or '.' for sign in row)}"
            for number, row in enumerate(self._signs(state))
        ]
        return "\n".join([*rows, f"  {' '.join('abcdef'[: self.size])}"])

    def picture(self, state: Sides) -> np.ndarray:
        return board_picture(self._signs(state), {"X": (24, 24, 28), "O": (244, 244, 240)}, (48, 122, 78))

    def _signs(self, state: Sides) -> list[list[str]]:
        def sign(place: int) -> str:
            return next((_SIGNS[side] for side in (0, 1) if state.discs[side] >> place & 1), "")

        return [[sign(self.size * row + column) for column in range(self.size)] for row in range(self.size)]

    def par(self, state: Sides, seat: int) -> float:
        return 0.0

    def minimax(self, depth: int) -> Strategy:
        return lambda view, legal: self._ahead(view, legal, depth)

    def _ahead(self, view: View, legal: tuple[int, ...], depth: int) -> tuple[float, ...]:
        """Any of the moves that look best, so many moves ahead."""
        state, seat = view
        if legal == (self._pass,):
            return (1.0,)
        values = self._squares.look_ahead(state.discs[seat], state.discs[1 - seat], depth)
        best = max(values)
        return any_of({move for move in legal if values[move] == best}, legal)

    players: ClassVar[Mapping[str, Callable[[Any], Strategy]]] = {"oracle": lambda game: _oracle(game)}


def _oracle(game: Othello) -> Strategy:
    def play(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
        state, _ = view
        left = game.size**2 - sum(side.bit_count() for side in state.discs)
        return game._ahead(view, legal, left if left <= EXACT_LEFT else DEPTH)

    return play


class OthelloChat(GameChat, game=Othello):
    pass


class OthelloEnv(GameEnv, chat=OthelloChat):
    pass
