"""`ludus/Minichess-v0` and `ludus/MinichessChat-v0`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ludus.envs.games.environment import GameChat, GameEnv
from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.minichess.engine import is_check, legal_moves, look_ahead
from ludus.envs.games.picture import board_picture
from ludus.envs.games.player import any_of

_PIECES = ".PNBRQK"
_START = "rnbqkppppp.....PPPPPRNBQK"
_SIDES = ("White", "Black")
QUIET_LIMIT = 40
"""After so many moves of both sides without a capture or a pawn's move it is a draw."""
MOVE_LIMIT = 80
"""After so many moves of each side it is a draw."""


def _all_moves() -> tuple[tuple[int, str], ...]:
    """Every move that some piece could make on some board, as the engine writes it and as players do."""
    found: dict[int, str] = {}
    names = [f"{column}{row}" for row in (5, 4, 3, 2, 1) for column in "abcde"]
    for start in range(25):
        for end in range(25):
            down, right = abs(start // 5 - end // 5), abs(start % 5 - end % 5)
            if {down, right} == {1, 2} or ((not down or not right or down == right) and start != end):
                found[(25 * start + end) * 7] = names[start] + names[end]
            if right <= 1 and (start // 5, end // 5) in ((1, 0), (3, 4)):
                for piece in (5, 4, 3, 2):
                    found[(25 * start + end) * 7 + piece] = names[start] + names[end] + _PIECES[piece].lower()
    return tuple(found.items())


_MOVES = _all_moves()
_NUMBERS = {move: number for number, (move, _) in enumerate(_MOVES)}


@dataclass(frozen=True, slots=True)
class Position:
    """Who stands where: squares from the upper left, White's pieces in capitals."""

    squares: str = _START
    plies: int = 0
    quiet: int = 0
    """Moves of both sides since the last capture or pawn's move."""

    @property
    def mover(self) -> int:
        return self.plies % 2

    @property
    def side(self) -> int:
        """As the engine has it."""
        return 1 - 2 * self.mover

    @property
    def board(self) -> np.ndarray:
        """As the engine has it, int64 (25,)."""
        pieces = [_PIECES.index(sign.upper()) * (1 if sign.isupper() else -1) for sign in self.squares]
        return np.array(pieces, np.int64)


@dataclass(frozen=True)
class Minichess(Game[Position]):
    """Chess on 5 × 5 squares, with one of each piece."""

    name: ClassVar[str] = "Minichess"
    actions: ClassVar[int] = len(_MOVES)
    shape: ClassVar[tuple[int, ...]] = (5, 5, 12)
    longest: ClassVar[int] = MOVE_LIMIT
    is_open: ClassVar[bool] = True
    opponents: ClassVar[tuple[str, ...]] = ("minimax:1", "minimax:2", "minimax:3", "oracle")
    example: ClassVar[int] = next(number for number, (_, word) in enumerate(_MOVES) if word == "b1c3")
    task: ClassVar[str] = f"""
        Gardner's minichess: chess on 5 × 5 squares, where both sides have five pawns before rook, knight,
        bishop, queen and king. Pawns move one square at a time and are promoted in the last row; there is no
        castling. Mate wins, stalemate is a draw, as are {QUIET_LIMIT} moves of both sides together without a
        capture or a pawn's move, and {MOVE_LIMIT} moves of each. It is a draw if both play perfectly (Mhalla
        and Prost 2013). `minimax:3` counts material three moves ahead, and then captures to their end;
        `oracle`, the strongest, looks five ahead."""
    looks: ClassVar[str] = (
        "rows from above, columns, with 1 in the last axis for the agent's pawn, knight, bishop, rook, "
        "queen, king, then for the other's."
    )
    moves: ClassVar[str] = (
        "From one square to another, as `b1c3`; a promotion names the piece, as `a4a5q`. The number is its "
        "place among all such moves."
    )
    target: ClassVar[str] = "a draw or a win"

    def start(self) -> Position:
        return Position()

    def to_move(self, state: Position) -> tuple[int, ...]:
        return () if self.outcome(state) is not None else (state.mover,)

    def legal(self, state: Position, seat: int) -> tuple[int, ...]:
        return tuple(sorted(_NUMBERS[move] for move in legal_moves(state.board, state.side)))

    def play(self, state: Position, moves: Mapping[int, int]) -> Position:
        ((_, number),) = moves.items()
        move, _ = _MOVES[number]
        start, end, promoted = move // 175, move // 7 % 25, move % 7
        squares = list(state.squares)
        piece, taken = squares[start], squares[end]
        if promoted:
            squares[end] = _PIECES[promoted] if piece == "P" else _PIECES[promoted].lower()
        else:
            squares[end] = piece
        squares[start] = "."
        quiet = 0 if taken != "." or piece in "Pp" else state.quiet + 1
        return Position("".join(squares), state.plies + 1, quiet)

    def outcome(self, state: Position) -> tuple[float, ...] | None:
        if not legal_moves(state.board, state.side):
            if not is_check(state.board, state.side):
                return 0.0, 0.0
            return (-1.0, 1.0) if state.mover == 0 else (1.0, -1.0)
        is_drawn = state.quiet >= QUIET_LIMIT or state.plies >= 2 * MOVE_LIMIT
        return (0.0, 0.0) if is_drawn else None

    def word(self, move: int) -> str:
        return _MOVES[move][1]

    def rules(self, seat: int) -> str:
        return (
            f"Chess on 5 by 5 squares. You are {_SIDES[seat]}, "
            f"{('in capitals, and begin', 'in small letters')[seat]}. Pawns move one square at a time; there "
            "is no castling. A move is from one square to another, as b1c3; a promotion names the piece, as "
            "a4a5q."
        )

    def tell(self, view: View) -> str:
        state, seat = view
        check = " The king is in check." if is_check(state.board, state.side) else ""
        return f"{self.board(state)}\nYou are {_SIDES[seat]}.{check}"

    def array(self, view: View) -> np.ndarray:
        state, seat = view
        board = state.board.reshape(5, 5, 1) * (1 - 2 * seat)
        pieces = np.array([*range(1, 7), *range(-1, -7, -1)])
        return (board == pieces).astype(np.float32)

    def board(self, state: Position) -> str:
        rows = [f"{5 - row} {' '.join(state.squares[5 * row : 5 * row + 5])}" for row in range(5)]
        return "\n".join([*rows, "  a b c d e"])

    def picture(self, state: Position) -> np.ndarray:
        signs = [sign.replace(".", "") for sign in state.squares]
        rows = [signs[row : row + 5] for row in range(0, 25, 5)]
        return board_picture(rows, {}, (240, 217, 181), (181, 136, 99))

    def par(self, state: Position, seat: int) -> float:
        return 0.0

    def minimax(self, depth: int) -> Strategy:
        def play(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
            state, _ = view
            values = look_ahead(state.board, state.side, depth, [_MOVES[number][0] for number in legal])
            best = max(values)
            return any_of({move for move, value in zip(legal, values, strict=True) if value == best}, legal)

        return play

    players: ClassVar[Mapping[str, Callable[[Any], Strategy]]] = {"oracle": lambda game: game.minimax(5)}


class MinichessChat(GameChat, game=Minichess):
    pass


class MinichessEnv(GameEnv, chat=MinichessChat):
    pass
