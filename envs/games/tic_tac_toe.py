"""`ludus/TicTacToe-v0` and `ludus/TicTacToeChat-v0`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from ludus.envs.games.environment import GameChat, GameEnv
from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.minimax import minimax
from ludus.envs.games.picture import board_picture
from ludus.envs.games.player import any_of

_EMPTY, _MARKS = ".", "XO"
_LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
_WORDS = tuple(f"{column}{row}" for row in (3, 2, 1) for column in "abc")


@dataclass(frozen=True, slots=True)
class Marks:
    """Nine squares from the upper left, row by row: `X`, `O` or `.`; X moves first."""

    squares: str = _EMPTY * 9

    @property
    def mover(self) -> int:
        return 9 - self.squares.count(_EMPTY) & 1

    @property
    def winner(self) -> int | None:
        """The seat with three in a row."""
        for a, b, c in _LINES:
            if self.squares[a] != _EMPTY and self.squares[a] == self.squares[b] == self.squares[c]:
                return _MARKS.index(self.squares[a])
        return None


@dataclass(frozen=True)
class TicTacToe(Game[Marks]):
    """Three in a row on nine squares; it is a draw if both play well."""

    name: ClassVar[str] = "TicTacToe"
    actions: ClassVar[int] = 9
    shape: ClassVar[tuple[int, ...]] = (3, 3, 2)
    longest: ClassVar[int] = 5
    is_open: ClassVar[bool] = True
    opponents: ClassVar[tuple[str, ...]] = ("random", "minimax:1", "oracle:50", "minimax:3", "oracle")
    example: ClassVar[int] = 4
    task: ClassVar[str] = """
        X and O mark squares in turn, X first. Who has three in a row, a column or a diagonal wins; a full
        board is a draw. 5,478 states can be reached, 4,520 if those where the game is over do not count.
        `oracle` plays perfectly, by a table of all of them, so that nobody wins against it."""
    looks: ClassVar[str] = "the squares, with 1 in the last axis for a mark of the agent's, of the other's."
    moves: ClassVar[str] = "A square: `a3` to `c3` are the upper row, numbers 0 to 2; `a1` to `c1` the lower."
    target: ClassVar[str] = "a draw or a win"

    def start(self) -> Marks:
        return Marks()

    def to_move(self, state: Marks) -> tuple[int, ...]:
        return () if self.outcome(state) is not None else (state.mover,)

    def legal(self, state: Marks, seat: int) -> tuple[int, ...]:
        return tuple(square for square, mark in enumerate(state.squares) if mark == _EMPTY)

    def play(self, state: Marks, moves: Mapping[int, int]) -> Marks:
        ((seat, square),) = moves.items()
        return Marks(state.squares[:square] + _MARKS[seat] + state.squares[square + 1 :])

    def outcome(self, state: Marks) -> tuple[float, ...] | None:
        winner = state.winner
        if winner is not None:
            return (1.0, -1.0) if winner == 0 else (-1.0, 1.0)
        return None if _EMPTY in state.squares else (0.0, 0.0)

    def word(self, move: int) -> str:
        return _WORDS[move]

    def rules(self, seat: int) -> str:
        return (
            f"Tic-tac-toe. You are {_MARKS[seat]}; X begins. Three of your marks in a row, a column or a "
            "diagonal win. Columns are a to c, rows 1 to 3 from below."
        )

    def tell(self, view: View) -> str:
        state, seat = view
        return f"{self.board(state)}\nYou are {_MARKS[seat]}."

    def array(self, view: View) -> np.ndarray:
        state, seat = view
        planes = [[mark == _MARKS[seat], mark == _MARKS[1 - seat]] for mark in state.squares]
        return np.array(planes, np.float32).reshape(self.shape)

    def board(self, state: Marks) -> str:
        rows = [f"{3 - row} {' '.join(state.squares[3 * row : 3 * row + 3])}" for row in range(3)]
        return "\n".join([*rows, "  a b c"])

    def picture(self, state: Marks) -> np.ndarray:
        signs = [mark.replace(_EMPTY, "") for mark in state.squares]
        return board_picture([signs[row : row + 3] for row in (0, 3, 6)], {}, (238, 228, 204))

    def par(self, state: Marks, seat: int) -> float:
        return 0.0

    def minimax(self, depth: int) -> Strategy:
        return minimax(self, lambda state, seat: 0.0, depth)

    players: ClassVar[Mapping[str, Callable[[Any], Strategy]]] = {"oracle": lambda game: _perfect}


_RULES = TicTacToe()


@cache
def value(state: Marks) -> float:
    """What the first seat gets if both play perfectly, kept in a table for every state that follows."""
    result = _RULES.outcome(state)
    if result is not None:
        return result[0]
    values = [value(_RULES.play(state, {state.mover: move})) for move in _RULES.legal(state, state.mover)]
    return min(values) if state.mover else max(values)


def _perfect(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
    """Any move that keeps the state's value."""
    state, seat = view
    best = value(state)
    return any_of({move for move in legal if value(_RULES.play(state, {seat: move})) == best}, legal)


class TicTacToeChat(GameChat, game=TicTacToe):
    pass


class TicTacToeEnv(GameEnv, chat=TicTacToeChat):
    pass
