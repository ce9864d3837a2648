"""Gardner's minichess, compiled: legal moves, and alpha-beta search over material.

A board is int64 (25,), rows from the upper left: 0 where nobody stands, 1 to 6 for White's pawn, knight,
bishop, rook, queen and king, the negatives of these for Black's. A side is 1 (White, which moves up) or -1. A
move is `(25 · from + to) · 7 + piece`, where the piece is what a pawn becomes, or 0.
"""

from functools import cache

import numpy as np

from ludus.tools.compiling import compile_once, inner, kernel

PAWN, KNIGHT, BISHOP, ROOK, QUEEN, KING = range(1, 7)
MATE = 100_000
"""A mate n moves of both sides after the next one is worth MATE - n."""
_MOST_MOVES = 128
_VALUES = (0, 100, 300, 300, 500, 900, 0)
"""Of the pieces, in hundredths of a pawn."""
_STEPS = ((1, 2), (2, 1), (2, -1), (1, -2), (-1, -2), (-2, -1), (-2, 1), (-1, 2))
_LINES = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))
"""(rows, columns) of knights, and of queens; the first four lines are the rooks', the others the bishops'."""


def _squares_on(square: int, step: tuple[int, int], far: int) -> list[int]:
    """The squares in a line from a square, at most so many."""
    row, column = divmod(square, 5)
    places = [(row + far * step[0], column + far * step[1]) for far in range(1, far + 1)]
    return [5 * row + column for row, column in places if 0 <= row < 5 and 0 <= column < 5]


_HOPS = np.full((25, 9), -1)
"""Where a knight gets from each square, and -1 at the end."""
_RAYS = np.full((25, 8, 5), -1)
"""The squares on each line from each square, nearest first, and -1 at the end."""
for _square in range(25):
    _ends = [end for step in _STEPS for end in _squares_on(_square, step, 1)]
    _HOPS[_square, : len(_ends)] = _ends
    for _number, _step in enumerate(_LINES):
        _ends = _squares_on(_square, _step, 4)
        _RAYS[_square, _number, : len(_ends)] = _ends


@inner
def attacked(board: np.ndarray, square: int, by: int) -> bool:
    """Whether a side attacks a square."""
    for end in _HOPS[square]:
        if end < 0:
            break
        if board[end] == by * KNIGHT:
            return True
    for line in range(8):
        slider = ROOK if line < 4 else BISHOP
        for distance in range(5):
            end = _RAYS[square, line, distance]
            if end < 0:
                break
            piece = board[end] * by
            if piece != 0:
                if piece in (QUEEN, slider) or (piece == KING and distance == 0):
                    return True
                break
    # Pawns attack upwards for White: they stand below.
    row, column = square // 5 + by, square % 5
    for c in (column - 1, column + 1):
        if 0 <= row < 5 and 0 <= c < 5 and board[5 * row + c] == by * PAWN:
            return True
    return False


@inner
def _king(board: np.ndarray, side: int) -> int:
    for square in range(25):
        if board[square] == side * KING:
            return square
    return 0


@inner
def candidates(board: np.ndarray, side: int, captures: bool, found: np.ndarray) -> int:
    """Writes the moves by which a king may be left in check; only captures and promotions if asked for."""
    count = 0
    for square in range(25):
        piece = board[square] * side
        if piece <= 0:
            continue
        if piece == PAWN:
            row, column = square // 5 - side, square % 5
            for c in range(max(0, column - 1), min(5, column + 2)):
                target = board[5 * row + c] * side
                if (target == 0) if c == column else (target < 0):
                    last = row in (0, 4)
                    if last or not captures or target < 0:
                        # To what it is promoted, the queen first; 0 where it is not.
                        for promoted in range(QUEEN if last else 0, PAWN if last else -1, -1):
                            found[count] = (25 * square + 5 * row + c) * 7 + promoted
                            count += 1
        elif piece == KNIGHT:
            for end in _HOPS[square]:
                if end < 0:
                    break
                target = board[end] * side
                if target < 0 or (target == 0 and not captures):
                    found[count] = (25 * square + end) * 7
                    count += 1
        else:
            for line in range(4 if piece == BISHOP else 0, 4 if piece == ROOK else 8):
                for distance in range(1 if piece == KING else 4):
                    end = _RAYS[square, line, distance]
                    if end < 0:
                        break
                    target = board[end] * side
                    if target < 0 or (target == 0 and not captures):
                        found[count] = (25 * square + end) * 7
                        count += 1
                    if target != 0:
                        break
    return count


@inner
def _make(board: np.ndarray, move: int) -> int:
    """Moves a piece; returns what stood on both squares, for `_undo`."""
    start, end, promoted = move // 175, move // 7 % 25, move % 7
    piece, taken = board[start], board[end]
    board[start] = 0
    board[end] = piece if promoted == 0 else (promoted if piece > 0 else -promoted)
    return (piece + 6) * 13 + taken + 6


@inner
def _undo(board: np.ndarray, move: int, stood: int) -> None:
    board[move // 175] = stood // 13 - 6
    board[move // 7 % 25] = stood % 13 - 6


@inner
def _legal(board: np.ndarray, side: int, captures: bool, found: np.ndarray) -> int:
    """Writes the moves that leave no king in check."""
    count = 0
    for number in range(candidates(board, side, captures, found)):
        move = found[number]
        stood = _make(board, move)
        if not attacked(board, _king(board, side), -side):
            found[count] = move
            count += 1
        _undo(board, move, stood)
    return count


@inner
def _estimate(board: np.ndarray, side: int) -> int:
    """Material, pawns far ahead, pieces in the middle; for the side."""
    total = 0
    for square in range(25):
        piece = board[square]
        if piece != 0:
            row, column = square // 5, square % 5
            owner = 1 if piece > 0 else -1
            kind = piece * owner
            worth = _VALUES[kind]
            if kind == PAWN:
                worth += 10 * (4 - row if owner == 1 else row)
            elif kind < ROOK:
                worth += 5 * (4 - abs(row - 2) - abs(column - 2))
            total += owner * worth
    return total * side


@inner
def _next(board: np.ndarray, found: np.ndarray, number: int, count: int) -> int:
    """Of the moves from this number on the one to try first, put in its place: what takes most with least."""
    first, most = number, -1
    for other in range(number, count):
        move = found[other]
        taken = abs(board[move // 7 % 25])
        order = 0
        if taken or move % 7:
            order = 10 * _VALUES[taken] + 10 * (move % 7) - abs(board[move // 175]) + 10
        if order > most:
            first, most = other, order
    found[number], found[first] = found[first], found[number]
    return found[number]


@inner
def _ahead(board: np.ndarray, side: int, depth: int, low: int, high: int, moves: np.ndarray) -> int:
    """The value for who is to move: `depth` moves ahead, and then captures, to the end of these or of
    `moves`, int64 (plies, 128), which is scratch. The search keeps its own stack."""
    plies = moves.shape[0]
    lows, highs, best = np.empty(plies, np.int64), np.empty(plies, np.int64), np.empty(plies, np.int64)
    counts, tried, stood = np.empty(plies, np.int64), np.empty(plies, np.int64), np.empty(plies, np.int64)
    ply = 0
    lows[0], highs[0] = low, high
    while True:
        # A position that is new.
        checked = attacked(board, _king(board, side), -side)
        # At the end of the look ahead a mate is seen: who is in check tries everything once.
        left = depth - ply
        captures = left < 0 or (left == 0 and not checked)
        counts[ply], tried[ply], best[ply] = 0, 0, -MATE - 1
        if captures:
            best[ply] = _estimate(board, side)
            lows[ply] = max(lows[ply], best[ply])
        if ply < plies - 1 and lows[ply] < highs[ply]:
            counts[ply] = _legal(board, side, captures, moves[ply])
            if counts[ply] == 0 and not captures:
                best[ply] = ply - MATE if checked else 0
        # Back up through all that is done, to the next move that is to be tried.
        while tried[ply] == counts[ply] or lows[ply] >= highs[ply]:
            if ply == 0:
                return best[0]
            value = -best[ply]
            ply, side = ply - 1, -side
            _undo(board, moves[ply, tried[ply] - 1], stood[ply])
            best[ply] = max(best[ply], value)
            lows[ply] = max(lows[ply], value)
        move = _next(board, moves[ply], tried[ply], counts[ply])
        tried[ply] += 1
        stood[ply] = _make(board, move)
        lows[ply + 1], highs[ply + 1] = -highs[ply], -lows[ply]
        ply, side = ply + 1, -side


@kernel
def legal(board: np.ndarray, side: int, found: np.ndarray) -> int:
    """Writes the legal moves into `found`, int64 (128,), and returns how many there are."""
    return _legal(board, side, False, found)


@kernel
def in_check(board: np.ndarray, side: int) -> bool:
    """Whether a side's king is attacked."""
    return attacked(board, _king(board, side), -side)


@kernel
def values_ahead(
    board: np.ndarray, side: int, depth: int, moves: np.ndarray, found: np.ndarray, values: np.ndarray
) -> None:
    """Writes for every move of `found`, int64 (n,), how it looks, `depth` moves ahead; where it is not the
    best, an upper bound. `moves` is scratch, int64 (plies, 128)."""
    best = -MATE - 1
    for number in range(found.size):
        stood = _make(board, found[number])
        values[number] = -_ahead(board, -side, depth - 1, -MATE - 1, 1 - best, moves)
        _undo(board, found[number], stood)
        best = max(best, values[number])


def legal_moves(board: np.ndarray, side: int) -> list[int]:
    """The legal moves of a side; the board, int64 (25,), is as it was afterwards."""
    _compile()
    found = np.empty(_MOST_MOVES, np.int64)
    return [int(move) for move in found[: legal(board, side, found)]]


def is_check(board: np.ndarray, side: int) -> bool:
    """Whether a side's king is attacked."""
    _compile()
    return bool(in_check(board, side))


def look_ahead(board: np.ndarray, side: int, depth: int, moves: list[int]) -> list[int]:
    """How each of these moves looks, `depth` moves ahead and then to the end of captures; the greatest values
    are exact."""
    _compile()
    scratch, values = np.empty((depth + 16, _MOST_MOVES), np.int64), np.empty(len(moves), np.int64)
    values_ahead(board, side, depth, scratch, np.array(moves, np.int64), values)
    return [int(value) for value in values]


@cache
def _compile() -> None:
    def use() -> None:
        board = np.zeros(25, np.int64)
        board[0], board[24] = -KING, KING
        found, values = np.empty(_MOST_MOVES, np.int64), np.empty(1, np.int64)
        legal(board, 1, found)
        in_check(board, 1)
        values_ahead(board, 1, 1, np.empty((4, _MOST_MOVES), np.int64), found[:1].copy(), values)

    compile_once("minichess", use)
