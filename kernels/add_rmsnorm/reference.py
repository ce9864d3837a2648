"""The formula, plain; takes the same arguments as the operator."""

import torch
from torch import Tensor

from ludus.kernels.arguments import accumulation_dtype


def add_rmsnorm_reference(
    x: Tensor, weight: Tensor, eps: float, residual: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """RMSNorm (Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467) of s = x + residual:

        out = weight · s / sqrt(mean(s²) + eps),   the mean over the last dimension

    x and residual [..., H], weight [H]. Returns out, or (out, s) with a residual. As in transformers' Llama
    and Qwen: normalised in float32, rounded to the dtype of s, then multiplied by the weight.
    """
    s = x if residual is None else x + residual
    wide = s.to(accumulation_dtype(s))
    normal = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    out = weight * normal.to(s.dtype)
    return out if residual is None else (out, s)
