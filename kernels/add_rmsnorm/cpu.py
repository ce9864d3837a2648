"""Torch, some rows at a time, so that intermediate results stay in the cache.

With r = 1 / sqrt(mean(s²) + eps), n = s r, H elements a row, and g the gradient of out:

    dweight = Σ_rows g n = (g s)ᵀ r
    ds      = r (g w - n mean(g w n)) + (the residual stream's gradient)
            = r g w - s r³/H ((g s) w) + …

so both reductions are matrix-vector products with the same buffer g s.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ludus.kernels.arguments import accumulation_dtype

CHUNK_BYTES = 2**19
"""Size of a [C, H] buffer: the few buffers of a pass fit into a second-level cache."""

CHUNK_ROWS = 1024
"""The most rows in a buffer: within one, a matrix-vector product may add them up sequentially."""


def forward(x: Tensor, weight: Tensor, eps: float, residual: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """(out [..., H], s [..., H], rstd [M]); without a residual, s is x itself."""
    hidden_size = x.shape[-1]
    wide = accumulation_dtype(x)
    if x.numel() * wide.itemsize <= CHUNK_BYTES:  # decoding: nothing but the arithmetic
        s = x if residual is None else x + residual
        out, rstd = _normalised(s, weight, eps)
        return out, s, rstd.view(-1)
    rows_x = x.reshape(-1, hidden_size)
    if residual is None:
        s, rows_s = x, rows_x
    else:
        s = torch.empty(x.shape, dtype=torch.promote_types(x.dtype, residual.dtype), device=x.device)
        rows_s, rows_residual = s.view(-1, hidden_size), residual.reshape(-1, hidden_size)
    out = torch.empty(x.shape, dtype=torch.promote_types(s.dtype, weight.dtype), device=x.device)
    rows_out = out.view(-1, hidden_size)
    rstd = torch.empty(len(rows_s), dtype=accumulation_dtype(s), device=x.device)
    for part in _chunks(rows_s, rstd.dtype):
        if residual is not None:
            torch.add(rows_x[part], rows_residual[part], out=rows_s[part])
        _, r = _normalised(rows_s[part], weight, eps, rows_out[part])
        rstd[part] = r.view(-1)
    return out, s, rstd


def _normalised(s: Tensor, weight: Tensor, eps: float, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(out, rstd [..., 1])"""
    wide = accumulation_dtype(s)
    norm = torch.linalg.vector_norm(s, dim=-1, keepdim=True, dtype=wide)
    rstd = norm.square_().div_(s.shape[-1]).add_(eps).rsqrt_()
    if s.dtype == weight.dtype == wide:
        return torch.mul(s, rstd, out=out).mul_(weight), rstd
    normal = (s * rstd).to(s.dtype)
    return torch.mul(normal, weight, out=out), rstd


def backward(
    s: Tensor, weight: Tensor, rstd: Tensor, grad_out: Tensor, grad_s: Tensor | None, want_weight: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradients of s, [..., H] in its dtype, and of the weight, [H] in its own, or None if not wanted."""
    hidden_size, wide = s.shape[-1], rstd.dtype
    rows_s, rows_out = s.reshape(-1, hidden_size), grad_out.reshape(-1, hidden_size)
    rows_further = None if grad_s is None else grad_s.reshape(-1, hidden_size)
    gradient = torch.empty(s.shape, dtype=s.dtype, device=s.device)
    rows_gradient = gradient.view(-1, hidden_size)
    w = weight.to(wide)
    grad_weight = torch.zeros_like(w)
    for part in _chunks(rows_s, wide):
        stream, g, r = rows_s[part].to(wide), rows_out[part].to(wide), rstd[part]
        product = g * stream
        inward = torch.mv(product, w).mul_(r * r).mul_(r).div_(-hidden_size)
        if want_weight:
            grad_weight += torch.mv(product.t(), r)
        into = rows_gradient[part] if gradient.dtype == wide else product
        torch.mul(g, w, out=into).mul_(r[:, None]).addcmul_(stream, inward[:, None])
        if rows_further is not None:
            into.add_(rows_further[part])
        if into is product:
            rows_gradient[part] = into
    return gradient, grad_weight.to(weight.dtype) if want_weight else None


def _chunks(rows: Tensor, dtype: torch.dtype) -> Iterator[slice]:
    size = min(CHUNK_ROWS, max(1, CHUNK_BYTES // (rows.shape[1] * dtype.itemsize)))
    return (slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size))
