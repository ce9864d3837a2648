"""The formula, plain; takes the same arguments as the operator, and rotates into new memory."""

import torch
from torch import Tensor

from ludus.kernels.arguments import accumulation_dtype


def rope_reference(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Rotary position embedding (Su et al. 2021, https://arxiv.org/abs/2104.09864) with the two halves of a
    head as the pairs' first and second numbers, as in transformers' Llama and Qwen. For each head (a, b), a
    and b [D/2]:

        (a, b) → (a cos_a - b sin_a, b cos_b + a sin_b)

    query [..., T, Hq, D], key [..., T, Hk, D]; cos and sin [..., T, D], of which the halves _a and _b are
    usually equal. Computed in float32, rounded once.
    """
    return _rotated(query, cos, sin), _rotated(key, cos, sin)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    wide = x.to(accumulation_dtype(x))
    a, b = wide.chunk(2, -1)
    cos, sin = cos.to(wide.dtype).unsqueeze(-2), sin.to(wide.dtype).unsqueeze(-2)
    return (wide * cos + torch.cat((-b, a), -1) * sin).to(x.dtype)
