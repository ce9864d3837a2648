"""Torch, half a head at a time: four passes over a half, each reading and writing it once."""

import torch
from torch import Tensor

from ludus.kernels.arguments import accumulation_dtype


def rotate(pairs: list[tuple[Tensor, Tensor]], cos: Tensor, sin: Tensor, backwards: bool) -> None:
    """For each (x, out), both [..., T, heads, D]: out = x rotated by cos and sin [..., T, D], or, backwards,
    multiplied by the transposed matrix. out may be x."""
    wide = accumulation_dtype(pairs[0][0])
    cos_a, cos_b = cos.to(wide).unsqueeze(-2).chunk(2, -1)
    sin_a, sin_b = sin.to(wide).unsqueeze(-2).chunk(2, -1)
    if backwards:
        sin_a, sin_b = -sin_b, -sin_a
    for x, out in pairs:
        a, b = x.chunk(2, -1)
        out_a, out_b = out.chunk(2, -1)
        if x.dtype == wide:
            kept = b * sin_a
            into_b = torch.mul(b, cos_b, out=out_b)
            into_b.addcmul_(a, sin_b)
            torch.mul(a, cos_a, out=out_a).sub_(kept)
        else:
            a, b = a.to(wide), b.to(wide)
            out_a.copy_((a * cos_a).addcmul_(b, sin_a, value=-1))
            out_b.copy_((b * cos_b).addcmul_(a, sin_b))
