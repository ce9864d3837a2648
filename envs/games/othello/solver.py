"""Othello on bitboards: moves, flips, and a compiled alpha-beta search over them.

A square is bit `size · row + column`, rows from above.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from ludus.tools.compiling import compile_once, inner, kernel

WIN = 1000
"""A game that is won by n discs is worth WIN + n."""
_CORNER = 8
"""A corner is worth so many moves more to choose from."""


def moves_of(own: int, other: int, full: int, between: int, size: int) -> int:
    """The squares on which `own` may place a disc; `between` are those not in the first and last column."""
    found = 0
    for step in (1, size - 1, size, size + 1):
        # A row that is turned over does not go on round the edge.
        turned = other if step == size else other & between
        up, down = turned & (own << step), turned & (own >> step)
        for _ in range(size - 3):
            up |= turned & (up << step)
            down |= turned & (down >> step)
        found |= (up << step) | (down >> step)
    return found & full & ~(own | other)


def flips_of(own: int, other: int, square: int, between: int, size: int) -> int:
    """The discs that a disc of `own` on a square turns over."""
    flipped = 0
    for step in (1, size - 1, size, size + 1):
        turned = other if step == size else other & between
        up, down = turned & (square << step), turned & (square >> step)
        for _ in range(size - 3):
            up |= turned & (up << step)
            down |= turned & (down >> step)
        if (up << step) & own:
            flipped |= up
        if (down >> step) & own:
            flipped |= down
    return flipped


_moves, _flips = inner(moves_of), inner(flips_of)


@inner
def _bits(board: int) -> int:
    count = 0
    while board:
        board &= board - 1
        count += 1
    return count


@inner
def _ahead(
    own: int, other: int, depth: int, low: int, high: int,
    full: int, between: int, corners: int, size: int,
) -> int:  # fmt: skip
    """The value for who is to move: WIN and the discs ahead, or, `depth` moves ahead, an estimate."""
    possible = _moves(own, other, full, between, size)
    sign = 1
    if not possible:
        # A pass: the other side is to move, and what is good for it is bad here.
        own, other = other, own
        low, high, sign = -high, -low, -1
        possible = _moves(own, other, full, between, size)
        if not possible:
            ahead = _bits(own) - _bits(other)
            return sign * (ahead + (WIN if ahead > 0 else -WIN if ahead < 0 else 0))
    if depth == 0:
        mobility = _bits(possible) - _bits(_moves(other, own, full, between, size))
        return sign * (mobility + _CORNER * (_bits(own & corners) - _bits(other & corners)))
    best = -2 * WIN
    # Corners first: they are mostly good.
    for part in range(2):
        left = possible & corners if part == 0 else possible & ~corners
        while left:
            square = left & -left
            left ^= square
            flipped = _flips(own, other, square, between, size)
            value = -_ahead(
                other ^ flipped, own | square | flipped, depth - 1, -high, -low,
                full, between, corners, size,
            )  # fmt: skip
            best = max(best, value)
            low = max(low, value)
            if low >= high:
                return sign * best
    return sign * best


@kernel
def values_ahead(
    own: int, other: int, depth: int, full: int, between: int, corners: int, size: int, found: np.ndarray
) -> None:
    """Writes for every square into `found` how a disc there looks, `depth` moves ahead; where it is not the
    best, an upper bound; -2 · WIN where none can be placed."""
    best = -2 * WIN
    possible = _moves(own, other, full, between, size)
    for place in range(found.size):
        square = 1 << place
        found[place] = -2 * WIN
        if possible & square:
            flipped = _flips(own, other, square, between, size)
            found[place] = -_ahead(
                other ^ flipped, own | square | flipped, depth - 1, -2 * WIN, 1 - best,
                full, between, corners, size,
            )  # fmt: skip
            best = max(best, found[place])


@dataclass(frozen=True)
class Squares:
    """A size of the board, and what rules and search need to know of it."""

    size: int

    @cached_property
    def full(self) -> int:
        return (1 << self.size**2) - 1

    @cached_property
    def between(self) -> int:
        """All columns but the first and the last."""
        row = (1 << self.size - 1) - 2
        return sum(row << self.size * number for number in range(self.size))

    @cached_property
    def corners(self) -> int:
        last = self.size - 1
        return sum(1 << self.size * row + column for row in (0, last) for column in (0, last))

    def moves(self, own: int, other: int) -> int:
        return moves_of(own, other, self.full, self.between, self.size)

    def flips(self, own: int, other: int, square: int) -> int:
        return flips_of(own, other, square, self.between, self.size)

    def look_ahead(self, own: int, other: int, depth: int) -> list[int]:
        """How each square looks to who is to move, who has a move; `depth` is 1 or more. The greatest values
        are exact."""
        _compile()
        found = np.zeros(self.size**2, np.int64)
        values_ahead(own, other, depth, self.full, self.between, self.corners, self.size, found)
        return [int(value) for value in found]


@cache
def squares(size: int) -> Squares:
    """The board of a size."""
    return Squares(size)


@cache
def _compile() -> None:
    def use() -> None:
        small = squares(4)
        found = np.zeros(16, np.int64)
        values_ahead(1 << 6, 1 << 5, 2, small.full, small.between, small.corners, small.size, found)

    compile_once("Othello", use)
