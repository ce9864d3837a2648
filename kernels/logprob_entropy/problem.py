"""The problem that the paths of `logprob_entropy` solve."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Problem:
    """M rows over a vocabulary of V tokens: z = logits / temperature."""

    logits: Tensor
    """[M, V]."""
    targets: Tensor
    """[M] integers in [0, V)."""
    temperature_M: Tensor
    """In the dtype to accumulate in; of stride 0 where all rows have the same."""
