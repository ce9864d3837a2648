"""Endgames of minichess with a king and at most one piece a side, no pawns: all of them, solved.

A table holds what comes of every position of a pair of pieces, if both play perfectly and nobody counts
moves: it is swept until no position is newly won or lost, and what is left is drawn. Moves are those of
`games.minichess.engine`. Without pawns the eight symmetries of the board change nothing, so the white king
stands on one of six squares. Numba's cache does not notice edits in `engine`: after one, delete what
`__pycache__` has of this file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from ludus.envs.games.minichess.engine import KING, PAWN, QUEEN, attacked, candidates
from ludus.tools.compiling import compile_once, inner, kernel

PIECES = ".PNBRQK"
SIDES = ("White", "Black")
RESULTS = (*SIDES, "draw")
_TAKEN = 25
"""The square of a piece that is not there any more."""
_OPEN, _WON, _LOST, _VOID = range(4)
"""For who is to move; void where that side could take the king, or two men stand on one square."""


def _symmetries() -> np.ndarray:
    """Where each of the eight symmetries takes each square, and the taken one, int64 (8, 26)."""
    squares = np.arange(25).reshape(5, 5)
    turned = [np.rot90(each, turns) for each in (squares, squares.T) for turns in range(4)]
    return np.array([[*np.argsort(each.ravel()), _TAKEN] for each in turned])


_MAPS = _symmetries()
_CORNER = np.array([0, 1, 2, 6, 7, 12])
"""Six squares, to one of which some symmetry takes every square."""
_TURN = np.array([next(turn for turn in range(8) if _MAPS[turn, square] in _CORNER) for square in range(25)])
_SLOT = np.full(26, -1)
_SLOT[_CORNER] = np.arange(6)
SIZE = 6 * 26 * 25 * 26 * 2


@inner
def _index(king: int, piece: int, other_king: int, other: int, side: int) -> int:
    """The place of a position in a table; side 0 is White's."""
    turn = _MAPS[_TURN[king]]
    place = (_SLOT[turn[king]] * 26 + turn[piece]) * 25 + turn[other_king]
    return (place * 26 + turn[other]) * 2 + side


@inner
def _judged(
    board: np.ndarray, men: tuple[int, int, int, int], side: int, codes: np.ndarray, found: np.ndarray
) -> int:
    """What follows for a position from those after it, as far as these are known."""
    king, piece, other_king, other = men
    sign = 1 - 2 * side
    legal, escapes = False, False
    for number in range(candidates(board, sign, False, found)):
        start, end = found[number] // 175, found[number] // 7 % 25
        if side == 0:
            after = _index(
                end if start == king else king,
                end if start == piece else piece,
                other_king,
                _TAKEN if end == other else other,
                1,
            )
        else:
            after = _index(
                king,
                _TAKEN if end == piece else piece,
                end if start == other_king else other_king,
                end if start == other else other,
                0,
            )
        if codes[after] == _VOID:
            continue
        legal = True
        if codes[after] == _LOST:
            return _WON
        escapes = escapes or codes[after] != _WON
    if legal:
        return _OPEN if escapes else _LOST
    return _LOST if attacked(board, other_king if side else king, -sign) else _OPEN


@inner
def _men(place: int) -> tuple[int, int, int, int]:
    """Where White's king and piece and Black's stand in the positions at an even place and the next one."""
    rest = place // 2
    return _CORNER[rest // (26 * 25 * 26)], rest // (25 * 26) % 26, rest // 26 % 25, rest % 26


@inner
def _set_up(board: np.ndarray, men: tuple[int, int, int, int], white: int, black: int) -> None:
    board[:] = 0
    board[men[0]], board[men[2]] = KING, -KING
    if men[1] != _TAKEN:
        board[men[1]] = white
    if men[3] != _TAKEN:
        board[men[3]] = -black


@kernel
def _solve(white: int, black: int, codes: np.ndarray) -> None:
    """Fill a table, int8 (SIZE,), in which everything is open: White's piece and Black's as of the engine."""
    board, found = np.zeros(25, np.int64), np.empty(128, np.int64)
    for place in range(0, SIZE, 2):
        men = _men(place)
        king, piece, other_king, other = men
        _set_up(board, men, white, black)
        crowded = king == other_king or piece in (king, other_king) or other in (king, other_king)
        crowded = crowded or (piece == other and piece != _TAKEN)
        if crowded or attacked(board, other_king, 1):
            codes[place] = _VOID
        if crowded or attacked(board, king, -1):
            codes[place + 1] = _VOID
    changed = True
    while changed:
        changed = False
        for place in range(0, SIZE, 2):
            if codes[place] == _OPEN or codes[place + 1] == _OPEN:
                men = _men(place)
                _set_up(board, men, white, black)
                for side in range(2):
                    if codes[place + side] == _OPEN:
                        codes[place + side] = _judged(board, men, side, codes, found)
                        changed = changed or codes[place + side] != _OPEN


@dataclass(frozen=True, slots=True)
class Endgame:
    """A position: squares from the upper left, White's men in capitals; and who moves, 0 for White."""

    squares: str
    mover: int

    @property
    def name(self) -> str:
        """It in one line."""
        rows = "/".join(self.squares[row : row + 5] for row in range(0, 25, 5))
        return f"{rows} {SIDES[self.mover]}"


@cache
def table(white: int, black: int) -> np.ndarray:
    """What comes of every position of a pair of pieces, as of the engine: int8 (SIZE,)."""
    _compile()
    codes = np.zeros(SIZE, np.int8)
    _solve(white, black, codes)
    return codes


@cache
def _places(white: int, black: int, result: int, mover: int) -> np.ndarray:
    """Where in the table both pieces are on the board and the result is this one."""
    codes = table(white, black).reshape(6, 26, 25, 26, 2)
    code = _OPEN if result == 2 else _WON if result == mover else _LOST
    return np.argwhere(codes[:, :_TAKEN, :, :_TAKEN, mover] == code)


def draw_endgame(raw: Callable[[], int], pair: tuple[int, int], result: int, mover: int) -> Endgame | None:
    """Any position of a pair of pieces, White's and Black's, with a result (of `RESULTS`) and a mover; None
    if there is none. `raw` draws 64 bits."""
    white, black = pair
    if white < black:
        swapped = draw_endgame(raw, (black, white), result if result == 2 else 1 - result, 1 - mover)
        return None if swapped is None else Endgame(swapped.squares.swapcase(), 1 - swapped.mover)
    places = _places(white, black, result, mover)
    if not len(places):
        return None
    slot, piece, other_king, other = places[raw() % len(places)].tolist()
    turn, squares = _MAPS[raw() % 8], ["."] * 25
    for man, square in (("K", _CORNER[slot]), (PIECES[white], piece), ("k", other_king)):
        squares[turn[square]] = man
    squares[turn[other]] = PIECES[black].lower()
    return Endgame("".join(squares), mover)


def result_of(endgame: Endgame) -> int | None:
    """The place in `RESULTS` of what comes of a position; None where the king of who is not to move could be
    taken.

    Raises:
        ValueError: there are pawns, or more than a king and a piece a side.
    """
    men = {sign: square for square, sign in enumerate(endgame.squares) if sign != "."}
    own = [sign for sign in men if sign.isupper() and sign != "K"]
    others = [sign for sign in men if sign.islower() and sign != "k"]
    counted = len(own) < 2 and len(others) < 2 and {"K", "k"} <= men.keys()
    if not counted or {"P", "p"} & men.keys() or len(men) + endgame.squares.count(".") != 25:
        raise ValueError(f"{endgame.name}: a king and at most one piece a side, which is no pawn")
    white, black = (PIECES.index(signs[0].upper()) if signs else 0 for signs in (own, others))
    if white < black:
        result = result_of(Endgame(endgame.squares.swapcase(), 1 - endgame.mover))
        return result if result is None or result == 2 else 1 - result
    squares = [men["K"], men[own[0]] if own else _TAKEN, men["k"], men[others[0]] if others else _TAKEN]
    king, piece, other_king, other = _MAPS[_TURN[squares[0]]][squares].tolist()
    codes = table(white or QUEEN, black or QUEEN)
    code = codes.reshape(6, 26, 25, 26, 2)[_SLOT[king], piece, other_king, other, endgame.mover]
    if code == _VOID:
        return None
    return 2 if code == _OPEN else endgame.mover if code == _WON else 1 - endgame.mover


@cache
def _compile() -> None:
    # Where nothing is open, nothing is swept.
    compile_once("endgames", lambda: _solve(PAWN, PAWN, np.full(SIZE, _WON, np.int8)))
