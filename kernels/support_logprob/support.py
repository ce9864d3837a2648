"""`Support`: the token ids that each token was drawn among."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Support:
    """The kept set of each of M tokens, as compressed rows: token m keeps `ids[offsets[m]:offsets[m + 1]]`.

    An engine that samples with top-k, top-p or min-p knows these sets when it draws, and records them. A set
    may be empty; its ids may come in any order.

    Raises ValueError for tensors of the wrong shape, dtype or device, and, on a CPU, for offsets that do not
    go from 0 up to K, for negative ids and for an id that occurs twice in a set. Values on a GPU are not
    checked, which would stall it: an id that occurs twice counts twice there. Build it on the CPU and move
    it with `to`.
    """

    ids: Tensor
    """[K] integers, the kept ids, token after token; within a set each occurs once."""
    offsets: Tensor
    """[M + 1] integers from 0 to K."""

    def __post_init__(self) -> None:
        for name, tensor in (("ids", self.ids), ("offsets", self.offsets)):
            if tensor.dim() != 1 or tensor.dtype not in (torch.int32, torch.int64):
                raise ValueError(
                    f"{name} must be a vector of int32 or int64, not {list(tensor.shape)} of {tensor.dtype}"
                )
        if not len(self.offsets):
            raise ValueError(
                "offsets must be [M + 1], with a last one that closes the last set, but it is empty"
            )
        if self.ids.device != self.offsets.device:
            raise ValueError(f"ids are on {self.ids.device}, but offsets on {self.offsets.device}")
        if self.ids.device.type == "cpu":
            self._check_values()

    def _check_values(self) -> None:
        first, last = int(self.offsets[0]), int(self.offsets[-1])
        falls = bool((self.offsets.diff() < 0).any())
        if first != 0 or last != len(self.ids) or falls:
            raise ValueError(
                f"offsets must rise from 0 to the number of ids, {len(self.ids)}; "
                f"they go from {first} to {last}{', falling in between' if falls else ''}"
            )
        if not len(self.ids):
            return
        if int(self.ids.min()) < 0:
            raise ValueError(f"ids must not be negative, but one is {int(self.ids.min())}")
        pitch = int(self.ids.max()) + 1
        places = (self.rows * pitch + self.ids).sort().values
        twice = places[1:][places.diff() == 0]
        if len(twice):
            row, repeated = divmod(int(twice[0]), pitch)
            raise ValueError(f"id {repeated} occurs twice in the set of token {row}; keep one of them")

    @classmethod
    def from_mask(cls, mask: Tensor) -> Self:
        """The ids where mask [M, V] is true. Raises ValueError for another shape or dtype."""
        if mask.dim() != 2 or mask.dtype != torch.bool:
            raise ValueError(f"mask must be [M, V] of bools, not {list(mask.shape)} of {mask.dtype}")
        ids = mask.nonzero()[:, 1].contiguous()
        return cls(ids, torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0)))

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]]) -> Self:
        """One sequence of ids for each token. On the CPU; raises ValueError for an id that occurs twice."""
        sizes = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        ids = torch.tensor([id_ for row in rows for id_ in row], dtype=torch.int64)
        return cls(ids, torch.nn.functional.pad(sizes.cumsum(0), (1, 0)))

    def to(self, device: torch.device | str) -> Self:
        """The same sets on another device; themselves where they are there already."""
        if self.ids.device == torch.device(device):
            return self
        return type(self)(self.ids.to(device), self.offsets.to(device))

    def __len__(self) -> int:
        """M, the number of tokens."""
        return len(self.offsets) - 1

    @cached_property
    def rows(self) -> Tensor:
        """[K] int64, the token that each entry belongs to."""
        entries = torch.arange(len(self.ids), device=self.ids.device, dtype=self.offsets.dtype)
        return torch.searchsorted(self.offsets, entries, right=True) - 1

    @cached_property
    def by_id(self) -> tuple[Tensor, Tensor]:
        """(order, ids), each [K]: the entries sorted by id, those of an id in the order of their tokens."""
        ids, order = self.ids.sort(stable=True)
        return order, ids

    @cached_property
    def id_segments(self) -> tuple[Tensor, Tensor]:
        """(starts [K + 1], count [1]): where each distinct id begins in `by_id`, in ascending order, then
        K to the end; and how many distinct ids there are. Nothing waits for a GPU to count them."""
        ids = self.by_id[1]
        first = torch.ones_like(ids, dtype=torch.bool)
        first[1:] = ids[1:] != ids[:-1]
        number = first.cumsum(0)
        starts = torch.searchsorted(number, torch.arange(1, len(ids) + 2, device=ids.device))
        return starts, number[-1:]
