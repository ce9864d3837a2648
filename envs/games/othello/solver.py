"""Othello on bitboards: moves, flips, and a compiled alpha-beta search over them.

A square is bit `size · row + column`, rows from above.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from ludus.envs.games.bits import bits_in
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
def _ahead(
    own: int, other: int, depth: int, low: int, high: int,
    full: int, between: int, corners: int, size: int,
) -> int:  # fmt: skip
    """The value for who is to move: WIN and the discs ahead, or, `depth` discs ahead, an estimate.

    The search keeps its own stack: numba cannot be trusted to load recursive functions from its cache.
    """
    owns, others = np.empty(depth + 1, np.int64), np.empty(depth + 1, np.int64)
    lows, highs = np.empty(depth + 1, np.int64), np.empty(depth + 1, np.int64)
    best, left = np.empty(depth + 1, np.int64), np.empty(depth + 1, np.int64)
    passed = np.empty(depth + 1, np.bool_)
    owns[0], others[0], lows[0], highs[0] = own, other, low, high
    ply = 0
    while True:
        possible = _moves(owns[ply], others[ply], full, between, size)
        passed[ply] = possible == 0
        if passed[ply]:
            # The other side is to move, and what is good for it is bad here.
            owns[ply], others[ply] = others[ply], owns[ply]
            lows[ply], highs[ply] = -highs[ply], -lows[ply]
            possible = _moves(owns[ply], others[ply], full, between, size)
        own, other = owns[ply], others[ply]
        known, value = True, 0
        if not possible:
            value = bits_in(own) - bits_in(other)
            value += WIN if value > 0 else -WIN if value < 0 else 0
        elif ply == depth:
            value = bits_in(possible) - bits_in(_moves(other, own, full, between, size))
            value += _CORNER * (bits_in(own & corners) - bits_in(other & corners))
        else:
            known, best[ply], left[ply] = False, -2 * WIN, possible
        # Back up through all that is known, to the next move that is to be tried.
        while known or not left[ply] or lows[ply] >= highs[ply]:
            if not known:
                value = best[ply]
            if passed[ply]:
                value = -value
            if ply == 0:
                return value
            ply -= 1
            value = -value
            known = False
            best[ply] = max(best[ply], value)
            lows[ply] = max(lows[ply], value)
        # Corners first: they are mostly good.
        square = left[ply] & corners or left[ply]
        square &= -square
        left[ply] ^= square
        flipped = _flips(owns[ply], others[ply], square, between, size)
        owns[ply + 1], others[ply + 1] = others[ply] ^ flipped, owns[ply] | square | flipped
        lows[ply + 1], highs[ply + 1] = -highs[ply], -lows[ply]
        ply += 1


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
