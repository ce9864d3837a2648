"""The problem that the paths of `linear_logprob` solve."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Problem:
    """M rows over a vocabulary of V tokens: z = softcap(hidden weightᵀ + bias) / temperature."""

    hidden: Tensor
    """[M, H]."""
    weight: Tensor
    """[V, H]."""
    bias: Tensor | None
    """[V]."""
    targets: Tensor
    """[M] integers in [0, V)."""
    temperature_M: Tensor
    """In the dtype to accumulate in; of stride 0 where all rows have the same."""
    softcap: float | None

    @property
    def rows(self) -> int:
        """M."""
        return len(self.hidden)

    @property
    def vocabulary(self) -> int:
        """V."""
        return len(self.weight)

    @property
    def hidden_size(self) -> int:
        """H."""
        return self.hidden.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """What sums are accumulated in."""
        return self.temperature_M.dtype
