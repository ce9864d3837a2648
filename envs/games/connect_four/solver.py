"""Connect Four on bitboards, compiled: exact values by alpha-beta with a table, and looking ahead.

A column takes `height = rows + 1` bits from below, of which the uppermost stays empty; a position is `own`,
the discs of who is to move, and `taken`, everybody's. The exact search is Pascal Pons' ("Solving Connect 4:
how to build a perfect AI", 2015): moves that lose at once are left out, moves that make most threats come
first, and the table keeps upper bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from ludus.envs.games.bits import bits_in
from ludus.tools.compiling import compile_once, inner, kernel

WIN = 1000
"""A win in n plies from now looks like WIN - n."""
_MEMORY_BITS, _SMALL_MEMORY_BITS = 22, 16


@inner
def _threats(own: int, free: int, height: int) -> int:
    """The places among the free ones that make four in a row; `height` is of a column, in bits."""
    places = (own << 1) & (own << 2) & (own << 3)
    for step in range(height - 1, height + 2):
        pair = (own << step) & (own << 2 * step)
        places |= pair & ((own << 3 * step) | (own >> step))
        pair = (own >> step) & (own >> 2 * step)
        places |= pair & ((own << step) | (own >> 3 * step))
    return places & free


@inner
def _exact(
    own: int, taken: int, left: int, low: int, high: int,
    full: int, bottom: int, height: int, ways: np.ndarray,
    keys: np.ndarray, bounds: np.ndarray, nodes: np.ndarray,
) -> int:  # fmt: skip
    """The value for who is to move, exact between `low` and `high`: positive for a win, the larger the
    sooner, half of how many places are left then. Nobody can win at once; `left` places are free; after more
    than `nodes[1]` positions it is no value.

    The search keeps its own stack: numba cannot be trusted to load recursive functions from its cache.
    """
    owns, takens = np.empty(left + 1, np.int64), np.empty(left + 1, np.int64)
    lows, highs = np.empty(left + 1, np.int64), np.empty(left + 1, np.int64)
    counts, slots = np.empty(left + 1, np.int64), np.empty(left + 1, np.int64)
    moves, scores = np.empty((left + 1, 8), np.int64), np.empty(8, np.int64)
    owns[0], takens[0], lows[0], highs[0] = own, taken, low, high
    ply = 0
    while True:
        # A position that is new: its value, where that is known at once, or else its moves.
        nodes[0] += 1
        if nodes[0] > nodes[1]:
            return 0
        own, taken, remaining = owns[ply], takens[ply], left - ply
        possible = (taken + bottom) & full
        against = _threats(own ^ taken, full ^ taken, height)
        forced = possible & against
        if forced:
            possible = forced
        # Not below a place where the other side wins; nor can two such places be closed.
        possible = 0 if forced & (forced - 1) else possible & ~(against >> 1)
        known, value = True, 0
        if not possible:
            value = -(remaining // 2)
        elif remaining > 2:
            lows[ply] = max(lows[ply], -((remaining - 2) // 2))
            key = own + taken
            slot = ((key * 0x9E3779B97F4A7C1) >> 20) & (keys.size - 1)
            most = min((remaining - 1) // 2, bounds[slot]) if keys[slot] == key else (remaining - 1) // 2
            if lows[ply] >= highs[ply]:
                value = lows[ply]
            elif lows[ply] >= most:
                value = most
            else:
                known = False
                highs[ply], slots[ply], count = min(highs[ply], most), slot, 0
                # The last in the list is tried first: most threats, then nearest to the middle.
                for way in range(ways.size - 1, -1, -1):
                    move = possible & ways[way]
                    if move:
                        score = bits_in(_threats(own | move, full ^ taken ^ move, height))
                        at = count
                        while at and scores[at - 1] > score:
                            scores[at], moves[ply, at] = scores[at - 1], moves[ply, at - 1]
                            at -= 1
                        scores[at], moves[ply, at] = score, move
                        count += 1
                counts[ply] = count
        # Back up through all that is known, to the next move that is to be tried.
        while known or counts[ply] == 0:
            if not known:
                value = lows[ply]
                keys[slots[ply]], bounds[slots[ply]] = owns[ply] + takens[ply], value
            if ply == 0:
                return value
            ply -= 1
            value = -value
            known = value >= highs[ply]
            lows[ply] = max(lows[ply], value)
        counts[ply] -= 1
        owns[ply + 1], takens[ply + 1] = owns[ply] ^ takens[ply], takens[ply] | moves[ply, counts[ply]]
        lows[ply + 1], highs[ply + 1] = -highs[ply], -lows[ply]
        ply += 1


@inner
def _ahead(
    own: int, taken: int, plies: int, depth: int, low: int, high: int,
    full: int, bottom: int, height: int, ways: np.ndarray, odd: int, weigh: bool, nodes: np.ndarray,
) -> int:  # fmt: skip
    """The value for who is to move, `depth` moves ahead; estimates are threats, own less the other side's,
    if these are to be weighed, and 0 otherwise."""
    owns, takens = np.empty(depth + 1, np.int64), np.empty(depth + 1, np.int64)
    lows, highs = np.empty(depth + 1, np.int64), np.empty(depth + 1, np.int64)
    best, tried = np.empty(depth + 1, np.int64), np.empty(depth + 1, np.int64)
    owns[0], takens[0], lows[0], highs[0] = own, taken, low, high
    ply = 0
    while True:
        nodes[0] += 1
        own, taken = owns[ply], takens[ply]
        free = full ^ taken
        threats = _threats(own, free, height)
        known, value = True, 0
        if not free:
            value = 0
        elif ply == depth or nodes[0] > nodes[1]:
            if weigh:
                # As the board fills, who began comes to move into the odd rows, the other one into the even.
                good = odd if (plies + ply) % 2 == 0 else full ^ odd
                against = _threats(own ^ taken, free, height)
                value = bits_in(threats) + 2 * bits_in(threats & good)
                value -= bits_in(against) + 2 * bits_in(against & ~good)
        elif threats & (taken + bottom):
            value = WIN - plies - ply - 1
        else:
            known, best[ply], tried[ply] = False, -WIN, 0
        while True:
            if not known:
                possible = (takens[ply] + bottom) & full
                while tried[ply] < ways.size and not possible & ways[tried[ply]]:
                    tried[ply] += 1
                if tried[ply] < ways.size and lows[ply] < highs[ply]:
                    break
                value = best[ply]
            if ply == 0:
                return value
            ply -= 1
            value = -value
            known = False
            best[ply] = max(best[ply], value)
            lows[ply] = max(lows[ply], value)
        move = possible & ways[tried[ply]]
        tried[ply] += 1
        owns[ply + 1], takens[ply + 1] = owns[ply] ^ takens[ply], takens[ply] | move
        lows[ply + 1], highs[ply + 1] = -highs[ply], -lows[ply]
        ply += 1


@kernel
def best_exact(
    own: int,
    taken: int,
    left: int,
    full: int,
    bottom: int,
    height: int,
    ways: np.ndarray,
    order: np.ndarray,
    keys: np.ndarray,
    bounds: np.ndarray,
    nodes: np.ndarray,
) -> tuple[int, int]:
    """The value, 1, 0 or -1, and the first column that reaches it; `order`, int64 (n,), has those with
    room."""
    # First whether any wins, then whether any draws: a search with two outcomes is the fastest.
    for goal in range(1, -1, -1):
        for column in order:
            move = (taken + bottom) & (((1 << (height - 1)) - 1) << (column * height))
            other, after = own ^ taken, taken | move
            free = full ^ after
            if _threats(own, full ^ taken, height) & move:
                score = 1
            elif not free:
                score = 0
            elif _threats(other, free, height) & (after + bottom):
                score = -1
            else:
                score = -_exact(
                    other, after, left - 1, -goal, 1 - goal,
                    full, bottom, height, ways, keys, bounds, nodes,
                )  # fmt: skip
            if score >= goal:
                return goal, column
    return -1, order[0]


@kernel
def values_ahead(
    own: int,
    taken: int,
    depth: int,
    full: int,
    bottom: int,
    height: int,
    ways: np.ndarray,
    odd: int,
    weigh: bool,
    nodes: np.ndarray,
    found: np.ndarray,
) -> None:
    """Writes for every column into `found` how moving there looks, `depth` moves ahead; where it is not the
    best, an upper bound; -WIN - 1 where it is full."""
    best, plies = -WIN - 1, bits_in(taken)
    for column in range(found.size):
        move = (taken + bottom) & full & (((1 << (height - 1)) - 1) << (column * height))
        found[column] = -WIN - 1
        if move:
            if _threats(own, full ^ taken, height) & move:
                found[column] = WIN - plies - 1
            else:
                found[column] = -_ahead(
                    own ^ taken, taken | move, plies + 1, depth - 1, -WIN, 1 - best,
                    full, bottom, height, ways, odd, weigh, nodes,
                )  # fmt: skip
            best = max(best, found[column])


@dataclass(frozen=True)
class Board:
    """A size of the board, and what searches need to know of it."""

    rows: int
    columns: int

    @cached_property
    def masks(self) -> tuple[int, int, int, np.ndarray]:
        """All places, the lowest of each column, bits of a column, the columns from the middle outwards."""
        height, column = self.rows + 1, (1 << self.rows) - 1
        bottom = sum(1 << height * number for number in range(self.columns))
        outwards = sorted(range(self.columns), key=lambda number: abs(2 * number - self.columns + 1))
        ways = np.array([column << height * number for number in outwards], np.int64)
        return bottom * column, bottom, height, ways

    @cached_property
    def odd(self) -> int:
        """The first, third, fifth, … rows."""
        return sum(self.masks[1] << row for row in range(0, self.rows, 2))

    @cached_property
    def _memory(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions, int64, and upper bounds of their values, int8: what was found once stays true."""
        return _new_memory(_MEMORY_BITS)

    def solve(
        self, own: int, taken: int, order: Sequence[int], most: int | None = None
    ) -> tuple[int, int] | None:
        """What comes of a position if both play perfectly.

        Args:
            own: discs of who is to move, who has not lost.
            taken: all discs.
            order: columns with room, in the order in which they are tried.
            most: positions that may be looked at; by default any number.

        Returns:
            1 if who is to move wins, 0 or -1, and the first column that leads to it; None if there are more
            positions than `most`.
        """
        _compile()
        left = self.rows * self.columns - taken.bit_count()
        tried = np.array(order, np.int64)
        nodes = np.array([0, 2**62 if most is None else most])
        # Within a limit, what was found before must not decide how far it gets.
        memory = self._memory if most is None else _new_memory(_SMALL_MEMORY_BITS)
        value, column = best_exact(own, taken, left, *self.masks, tried, *memory, nodes)
        return None if nodes[0] > nodes[1] else (int(value), int(column))

    def look_ahead(
        self, own: int, taken: int, depth: int, weigh: bool, most: int = 10**12
    ) -> list[int] | None:
        """How each move looks, `depth` moves ahead.

        Args:
            own: discs of who is to move, who has not lost.
            taken: all discs.
            depth: 1 or more.
            weigh: whether to count threats where nobody has won by then; otherwise that counts as a draw.
            most: positions that may be looked at.

        Returns:
            A value for each column, of which the greatest are exact, and the least is of full ones; None if
            there are more positions than `most`.
        """
        _compile()
        found, nodes = np.zeros(self.columns, np.int64), np.array([0, most])
        values_ahead(own, taken, depth, *self.masks, self.odd, weigh, nodes, found)
        return None if nodes[0] > most else [int(value) for value in found]


def _new_memory(bits: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(1 << bits, -1, np.int64), np.zeros(1 << bits, np.int8)


@cache
def board(rows: int, columns: int) -> Board:
    """The board of a size; its memory is shared."""
    return Board(rows, columns)


@cache
def _compile() -> None:
    def use() -> None:
        small = Board(4, 4)
        memory = _new_memory(4)
        best_exact(0, 0, 16, *small.masks, np.arange(4), *memory, np.array([0, 10**9]))
        values_ahead(0, 0, 2, *small.masks, small.odd, True, np.array([0, 10**9]), np.zeros(4, np.int64))

    compile_once("Connect Four", use)
