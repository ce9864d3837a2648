"""`Support`: the words that each token was drawn among."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Support:
    """The kept set of each of M tokens, as compressed rows: token m keeps `words[offsets[m]:offsets[m + 1]]`.

    An engine that samples with top-k, top-p or min-p knows these sets when it draws, and records them. A set
    may be empty; its words may stand in any order.

    Raises ValueError for tensors of the wrong shape, dtype or device, and, on a CPU, for offsets that do not
    go from 0 up to K, for negative words and for a word that stands twice in a set. Values on a GPU are not
    looked at, which would stall it: a word that stands twice counts twice there. Build it on the CPU and move
    it with `to`.
    """

    words: Tensor
    """[K] integers, the ids of the kept words, token after token; within a set each stands once."""
    offsets: Tensor
    """[M + 1] integers from 0 to K."""

    def __post_init__(self) -> None:
        for name, tensor in (("words", self.words), ("offsets", self.offsets)):
            if tensor.dim() != 1 or tensor.dtype not in (torch.int32, torch.int64):
                raise ValueError(
                    f"{name} must be a vector of int32 or int64, not {list(tensor.shape)} of {tensor.dtype}"
                )
        if not len(self.offsets):
            raise ValueError(
                "offsets must be [M + 1], with a last one that closes the last set, but it is empty"
            )
        if self.words.device != self.offsets.device:
            raise ValueError(f"words are on {self.words.device}, but offsets on {self.offsets.device}")
        if self.words.device.type == "cpu":
            self._check_values()

    def _check_values(self) -> None:
        first, last = int(self.offsets[0]), int(self.offsets[-1])
        falls = bool((self.offsets.diff() < 0).any())
        if first != 0 or last != len(self.words) or falls:
            raise ValueError(
                f"offsets must rise from 0 to the number of words, {len(self.words)}; "
                f"they go from {first} to {last}{', falling in between' if falls else ''}"
            )
        if not len(self.words):
            return
        if int(self.words.min()) < 0:
            raise ValueError(f"words must not be negative, but one is {int(self.words.min())}")
        pitch = int(self.words.max()) + 1
        places = (self.rows * pitch + self.words).sort().values
        twice = places[1:][places.diff() == 0]
        if len(twice):
            row, word = divmod(int(twice[0]), pitch)
            raise ValueError(f"word {word} stands twice in the set of token {row}; keep one of them")

    @classmethod
    def from_mask(cls, mask: Tensor) -> Self:
        """The words where mask [M, V] is true. Raises ValueError for another shape or dtype."""
        if mask.dim() != 2 or mask.dtype != torch.bool:
            raise ValueError(f"mask must be [M, V] of bools, not {list(mask.shape)} of {mask.dtype}")
        words = mask.nonzero()[:, 1].contiguous()
        return cls(words, torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0)))

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]]) -> Self:
        """One sequence of word ids for each token. On the CPU; raises ValueError for a word that stands
        twice."""
        sizes = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        words = torch.tensor([word for row in rows for word in row], dtype=torch.int64)
        return cls(words, torch.nn.functional.pad(sizes.cumsum(0), (1, 0)))

    def to(self, device: torch.device | str) -> Self:
        """The same sets on another device."""
        return type(self)(self.words.to(device), self.offsets.to(device))

    def __len__(self) -> int:
        """M, the number of tokens."""
        return len(self.offsets) - 1

    @cached_property
    def rows(self) -> Tensor:
        """[K] int64, the token that each entry belongs to."""
        entries = torch.arange(len(self.words), device=self.words.device, dtype=self.offsets.dtype)
        return torch.searchsorted(self.offsets, entries, right=True) - 1

    @cached_property
    def by_word(self) -> tuple[Tensor, Tensor]:
        """(order, words), each [K]: the entries sorted by word, those of a word in the order of their
        tokens."""
        words, order = self.words.sort(stable=True)
        return order, words

    @cached_property
    def word_segments(self) -> tuple[Tensor, Tensor]:
        """(starts [K + 1], count [1]): where each distinct word begins in `by_word`, in their order, then K
        to the end; and how many distinct words there are. Nothing waits for a GPU to count them."""
        words = self.by_word[1]
        first = torch.ones_like(words, dtype=torch.bool)
        first[1:] = words[1:] != words[:-1]
        number = first.cumsum(0)
        starts = torch.searchsorted(number, torch.arange(1, len(words) + 2, device=words.device))
        return starts, number[-1:]
