"""`KeptSets`: the ids that sampled tokens were drawn among, where that was not the whole vocabulary."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class KeptSets:
    """The kept set of each of T sampled tokens, as compressed rows: four bytes for each id, and four for each
    token. Iterates over the sets, [K] int32 each."""

    ids: bytes
    """int32: the kept ids, token after token; within a set they rise."""
    sizes: bytes
    """[T] int32: how many ids each token was drawn among."""

    @classmethod
    def of(cls, sets: Iterable[Ids | Sequence[int]]) -> Self:
        arrays = [np.asarray(kept, dtype=np.int32) for kept in sets]
        sizes = np.array([len(kept) for kept in arrays], dtype=np.int32)
        return cls(b"".join(kept.tobytes() for kept in arrays), sizes.tobytes())

    @classmethod
    def joined(cls, parts: Sequence["KeptSets"]) -> Self:
        """Those of several completions, one after the other."""
        return cls(b"".join(part.ids for part in parts), b"".join(part.sizes for part in parts))

    def __len__(self) -> int:
        """T."""
        return len(self.sizes) // 4

    def __iter__(self) -> Iterator[Ids]:
        ends = np.frombuffer(self.sizes, dtype=np.int32).cumsum(dtype=np.int64)
        return iter(np.split(np.frombuffer(self.ids, dtype=np.int32), ends[:-1]) if len(self) else [])
