"""`ludus/ConnectFour-v0` and `ludus/ConnectFourChat-v0`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_integer
from ludus.envs.games.connect_four.solver import WIN, board
from ludus.envs.games.environment import GameChat, GameEnv
from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.picture import board_picture
from ludus.envs.games.player import any_of, certain

_SIGNS = "XO"
EXACT_LEFT = 26
"""With so many empty places, or fewer, the oracle solves the position."""
EXACT_CELLS = 30
"""Boards of so many places, or fewer, it solves from the beginning."""
MOST_POSITIONS = 50_000
"""Before that it tries to, and then looks ahead, as far as it gets with so many positions."""


@dataclass(frozen=True, slots=True)
class Discs:
    """Both sides' discs as bitboards: bit `(rows + 1) · column + row`, rows from below."""

    discs: tuple[int, int] = (0, 0)

    @property
    def taken(self) -> int:
        return self.discs[0] | self.discs[1]

    @property
    def mover(self) -> int:
        return self.taken.bit_count() & 1


@dataclass(frozen=True)
class ConnectFour(Game[Discs]):
    """Drop discs into columns; four in a row win."""

    rows: int = 6
    columns: int = 7

    name: ClassVar[str] = "ConnectFour"
    is_open: ClassVar[bool] = True
    legend: ClassVar[str] = "X is red, O is yellow."
    opponents: ClassVar[tuple[str, ...]] = ("minimax:2", "minimax:4", "minimax:6", "oracle")
    example: ClassVar[int] = 3
    task: ClassVar[str] = """
        In turn, both sides drop a disc into a column. Who first has four in a row, across, upright or
        diagonally, wins; a full board is a draw. On 6 rows and 7 columns the first side can win, by beginning
        in the middle. `oracle` plays perfectly from 16 discs on, by alpha-beta search with a table of
        positions, and before that it looks far ahead; boards of up to 30 places, such as 5 rows and 6
        columns, it plays perfectly from the beginning."""
    looks: ClassVar[str] = (
        "rows from above, columns, with 1 in the last axis for a disc of the agent's, of the other's."
    )
    moves: ClassVar[str] = "A column: `1` is the leftmost, number 0."
    target: ClassVar[str] = "a draw or a win"
    settings: ClassVar[tuple[str, ...]] = ("`rows` (6), `columns` (7): the board's size, 4 to 7 each.",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", as_integer("rows", self.rows, 4, 7))
        object.__setattr__(self, "columns", as_integer("columns", self.columns, 4, 7))

    @property
    def actions(self) -> int:
        return self.columns

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows, self.columns, 2

    @property
    def longest(self) -> int:
        return (self.rows * self.columns + 1) // 2

    def start(self) -> Discs:
        return Discs()

    def to_move(self, state: Discs) -> tuple[int, ...]:
        return () if self.outcome(state) is not None else (state.mover,)

    def legal(self, state: Discs, seat: int) -> tuple[int, ...]:
        taken, height = state.taken, self.rows + 1
        return tuple(
            column for column in range(self.columns) if not taken >> (height * column + self.rows - 1) & 1
        )

    def play(self, state: Discs, moves: Mapping[int, int]) -> Discs:
        ((seat, column),) = moves.items()
        bottom, whole = 1 << (self.rows + 1) * column, (1 << self.rows) - 1
        # Adding to a column of ones carries to the first place that is empty.
        place = (state.taken + bottom) & whole * bottom
        first, second = state.discs
        return Discs((first | place, second) if seat == 0 else (first, second | place))

    def outcome(self, state: Discs) -> tuple[float, ...] | None:
        if has_four(state.discs[1 - state.mover], self.rows):
            return (-1.0, 1.0) if state.mover == 0 else (1.0, -1.0)
        return (0.0, 0.0) if state.taken.bit_count() == self.rows * self.columns else None

    def word(self, move: int) -> str:
        return str(move + 1)

    def rules(self, seat: int) -> str:
        return (
            f"Connect four. You are {_SIGNS[seat]}; X begins. A move is a column, 1 to {self.columns}, into "
            "which your disc drops. Four of your discs in a row, across, upright or diagonally, win."
        )

    def tell(self, view: View) -> str:
        state, seat = view
        return f"{self.board(state)}\nYou are {_SIGNS[seat]}."

    def array(self, view: View) -> np.ndarray:
        state, seat = view
        places = (self.rows + 1) * np.arange(self.columns) + np.arange(self.rows)[::-1, None]
        sides = [state.discs[seat], state.discs[1 - seat]]
        return np.stack([side >> places & 1 for side in sides], axis=-1).astype(np.float32)

    def board(self, state: Discs) -> str:
        numbers = " ".join(str(column + 1) for column in range(self.columns))
        return "\n".join([*(" ".join(sign or "." for sign in row) for row in self._signs(state)), numbers])

    def picture(self, state: Discs) -> np.ndarray:
        return board_picture(self._signs(state), {"X": (222, 68, 58), "O": (245, 202, 60)}, (42, 82, 152))

    def par(self, state: Discs, seat: int) -> float:
        return 0.0

    def _signs(self, state: Discs) -> list[list[str]]:
        def sign(row: int, column: int) -> str:
            place = (self.rows + 1) * column + row
            return next((_SIGNS[side] for side in (0, 1) if state.discs[side] >> place & 1), "")

        return [[sign(row, column) for column in range(self.columns)] for row in range(self.rows)[::-1]]

    def minimax(self, depth: int) -> Strategy:
        def play(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
            return _best(self._look_ahead(view, depth, weigh=False) or (), legal)

        return play

    def _look_ahead(self, view: View, depth: int, weigh: bool, most: int = 10**12) -> Sequence[int] | None:
        state, seat = view
        return board(self.rows, self.columns).look_ahead(state.discs[seat], state.taken, depth, weigh, most)

    players: ClassVar[Mapping[str, Callable[[Any], Strategy]]] = {"oracle": lambda game: _oracle(game)}


def has_four(discs: int, rows: int) -> bool:
    """Whether there are four in a row."""
    for step in (1, rows, rows + 1, rows + 2):
        pairs = discs & discs >> step
        if pairs & pairs >> 2 * step:
            return True
    return False


def _best(values: Sequence[int], legal: tuple[int, ...]) -> tuple[float, ...]:
    best = max(values[move] for move in legal)
    return any_of({move for move in legal if values[move] == best}, legal)


def _oracle(game: ConnectFour) -> Strategy:
    """Solves what it can solve soon, and looks ahead elsewhere."""
    cells = game.rows * game.columns

    def play(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
        state, seat = view
        left = cells - state.taken.bit_count()
        soon = game._look_ahead(view, 3, True)
        assert soon is not None
        # Of moves that are worth the same, one that looks good: a win that can be had at once is taken.
        order = sorted(legal, key=lambda column: -soon[column])
        if soon[order[0]] > 0 and soon[order[0]] >= WIN - cells:
            return certain(order[0], legal)
        is_exact = left <= EXACT_LEFT or cells <= EXACT_CELLS
        solved = board(game.rows, game.columns).solve(
            state.discs[seat], state.taken, order, None if is_exact else MOST_POSITIONS
        )
        if solved is not None:
            return certain(solved[1], legal)
        values, depth = soon, 4
        while depth <= left and (deeper := game._look_ahead(view, depth, True, MOST_POSITIONS)) is not None:
            values, depth = deeper, depth + 1
        return _best(values, legal)

    return play


class ConnectFourChat(GameChat, game=ConnectFour):
    pass


class ConnectFourEnv(GameEnv, chat=ConnectFourChat):
    pass
