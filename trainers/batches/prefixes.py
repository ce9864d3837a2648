"""Rows that begin alike, as a forest: what they share is laid out, and computed, once.

Rows come in lexicographic order, so each shares as much with the one before it as with any. The rest of it is
a branch, which leaves the path of the row before at some depth: G samples of a prompt, turns that grow from
one context, and what was asked again after a fork are all the same case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

LEAST_SHARED = 8
"""Fewer tokens in common, as the same opening of unrelated prompts, are not worth a branch."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Tokens end to end, which see what they follow: their prefix, and each other up to themselves."""

    begin: int
    """Index into T of the first one."""
    length: int
    prefix: tuple[tuple[int, int], ...] = ()
    """Ranges (begin, end) of T, in the order of the positions; none for the root of a tree."""

    @property
    def end(self) -> int:
        return self.begin + self.length

    @property
    def depth(self) -> int:
        """The position of its first token."""
        return sum(end - begin for begin, end in self.prefix)


class Forest:
    """Rows laid out in T tokens, one after another.

    Args:
        shares: whether what rows have in common is there once.
    """

    def __init__(self, shares: bool = True) -> None:
        self._shares = shares
        self.tokens = 0
        self.ids: list[Ids] = []
        self.positions: list[Ids] = []
        self.branches: list[Branch] = []
        self._row: Ids = np.empty(0, np.int64)
        self._path: tuple[tuple[int, int], ...] = ()
        """Where the last row lies, as ranges of T."""

    def has_room(self, row: Ids, limit: int) -> bool:
        """Whether the row adds nothing, or leaves no more than `limit` tokens in all."""
        added = len(row) - _size(self._shared(row))
        return not added or self.tokens + added <= limit

    def add(self, row: Ids) -> Ids:
        """Lay a row out.

        Returns:
            Where each of its tokens lies in T.
        """
        prefix = self._shared(row)
        begin, depth = self.tokens, _size(prefix)
        self._row, self._path = row, prefix
        if depth < len(row):
            branch = Branch(begin, len(row) - depth, prefix)
            self.tokens = branch.end
            self.ids.append(row[depth:])
            self.positions.append(np.arange(depth, len(row)))
            self.branches.append(branch)
            self._path = (*prefix, (begin, branch.end))
        return np.concatenate([np.arange(*place) for place in self._path])

    def _shared(self, row: Ids) -> tuple[tuple[int, int], ...]:
        """The part of the last row's path that this one takes too."""
        common, taken = common_prefix(self._row, row) if self._shares else 0, 0
        shared: list[tuple[int, int]] = []
        for begin, end in self._path:
            here = min(end - begin, common - taken)
            if here < min(LEAST_SHARED, end - begin):
                break
            shared.append((begin, begin + here))
            taken += here
        return tuple(shared)


def common_prefix(one: Ids, other: Ids) -> int:
    """How many tokens two rows have in common before they differ or one ends."""
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length


def _size(ranges: Sequence[tuple[int, int]]) -> int:
    return sum(end - begin for begin, end in ranges)
