"""Weights in a format shorter than float32: what is added up over them, and how a step is rounded to them."""

import torch
from torch import Tensor


def gradient_dtype(weight: Tensor) -> torch.dtype:
    """At least float32, since the gradients of many micro-batches are added up."""
    return weight.dtype if weight.dtype.itemsize >= 4 else torch.float32


def rounded_at_random(values: Tensor) -> Tensor:
    """float32 values, rounded to one of the two bfloat16 numbers around them, to each as often as it is near:
    the mean over many roundings is the value. From torch's generator.

    Adds random bits below the last one that is kept, and cuts them off (S. Gupta et al., "Deep learning with
    limited numerical precision", arXiv:1502.02551, section 3).
    """
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device)
    return ((bits + noise) & -(1 << 16)).view(torch.float32).bfloat16()
