"""Fused kernels: a program takes a tile of whole rows and holds it in registers.

forward    reads x (and the residual), writes out (and s), and a float32 per row
backward   reads s, the gradient of out (and of s), writes the gradient of s; a fixed number of programs take
           tiles in turn, and each keeps a sum of the weight's gradient, so that the sums are added up in an
           order that depends on the device and on nothing else
"""

import itertools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ludus.kernels.compilation import ELEMENT_TYPES, Specialisation, processors, warp_size

TILE = 2048
"""Elements of a tile, unless a row is wider."""

RESIDENT = 8192
"""Elements of the tiles that the backward processes at a time, per multiprocessor."""


def forward(x: Tensor, weight: Tensor, eps: float, residual: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """(out [..., H], s [..., H], rstd [M] float32); without a residual, s is x itself."""
    hidden_size = x.shape[-1]
    rows_x = _rows(x)
    rows_residual = None if residual is None else _rows(residual)
    stream = x.dtype if residual is None else torch.promote_types(x.dtype, residual.dtype)
    s = x if residual is None else torch.empty(x.shape, dtype=stream, device=x.device)
    out = torch.empty(x.shape, dtype=torch.promote_types(stream, weight.dtype), device=x.device)
    count = len(rows_x)
    rstd = torch.empty(count, dtype=torch.float32, device=x.device)
    tiling = _tiling(hidden_size)
    if count:
        forward_kernel[(triton.cdiv(count, tiling["ROWS"]),)](
            rows_x,
            rows_residual,
            weight.contiguous(),
            out,
            None if residual is None else s,
            rstd,
            count,
            hidden_size,
            rows_x.stride(0),
            0 if rows_residual is None else rows_residual.stride(0),
            eps,
            **tiling,
            num_warps=_warps(hidden_size, warp_size()),
        )
    return out, s, rstd


def backward(
    s: Tensor, weight: Tensor, rstd: Tensor, grad_out: Tensor, grad_s: Tensor | None, want_weight: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradients of s, [..., H] in its dtype, and of the weight, [H] in its own, or None if not wanted."""
    hidden_size = s.shape[-1]
    rows_s, rows_out = _rows(s), _rows(grad_out)
    rows_further = None if grad_s is None else _rows(grad_s)
    count = len(rows_s)
    gradient = torch.empty(s.shape, dtype=s.dtype, device=s.device)
    tiling, warps = _tiling(hidden_size), _warps(hidden_size, warp_size())
    resident = processors(s.device) * max(1, RESIDENT // (tiling["ROWS"] * tiling["BLOCK"]))
    programs = min(triton.cdiv(count, tiling["ROWS"]), resident)
    partial = (
        torch.empty((programs, hidden_size), dtype=torch.float32, device=s.device) if want_weight else None
    )
    if count:
        backward_kernel[(programs,)](
            rows_s,
            weight.contiguous(),
            rstd,
            rows_out,
            rows_further,
            gradient,
            partial,
            count,
            hidden_size,
            rows_s.stride(0),
            rows_out.stride(0),
            0 if rows_further is None else rows_further.stride(0),
            **tiling,
            num_warps=warps,
        )
    return gradient, None if partial is None else partial.sum(0).to(weight.dtype)


def _rows(tensor: Tensor) -> Tensor:
    """[M, H] with contiguous rows; a copy only if the rows are not equally spaced."""
    rows = tensor.reshape(-1, tensor.shape[-1])
    return rows if rows.stride(1) == 1 or rows.shape[1] == 1 else rows.contiguous()


def _tiling(hidden_size: int) -> dict[str, int]:
    block = triton.next_power_of_2(hidden_size)
    return {"ROWS": max(1, TILE // block), "BLOCK": block}


def _warps(hidden_size: int, warp_size: int) -> int:
    """So that a thread holds 16 elements of a tile, or 8 if it has many rows, whose sums take registers."""
    block = triton.next_power_of_2(hidden_size)
    return min(16, max(TILE, block) // ((8 if block <= 256 else 16) * warp_size))


@triton.jit
def forward_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    s_ptr,
    rstd_ptr,
    rows,
    hidden_size,
    stride_x,
    stride_residual,
    eps,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < rows)[:, None] & (column < hidden_size)
    weight = tl.load(weight_ptr + column, mask=column < hidden_size, other=0.0).to(tl.float32)
    s = tl.load(x_ptr + row[:, None] * stride_x + column, mask=inside, other=0.0).to(tl.float32)
    place = row[:, None] * hidden_size + column
    if residual_ptr is not None:
        residual = tl.load(residual_ptr + row[:, None] * stride_residual + column, mask=inside, other=0.0)
        rounded = (s + residual.to(tl.float32)).to(s_ptr.dtype.element_ty)
        tl.store(s_ptr + place, rounded, mask=inside)
        s = rounded.to(tl.float32)
        normal = _normal(s, hidden_size, eps, row, rows, rstd_ptr).to(s_ptr.dtype.element_ty)
    else:
        normal = _normal(s, hidden_size, eps, row, rows, rstd_ptr).to(x_ptr.dtype.element_ty)
    tl.store(out_ptr + place, (normal.to(tl.float32) * weight).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _normal(s, hidden_size, eps, row, rows, rstd_ptr):
    rstd = tl.rsqrt(tl.sum(s * s, 1) / hidden_size + eps)
    tl.store(rstd_ptr + row, rstd, mask=row < rows)
    return s * rstd[:, None]


@triton.jit
def backward_kernel(
    s_ptr,
    weight_ptr,
    rstd_ptr,
    grad_out_ptr,
    grad_s_ptr,
    gradient_ptr,
    partial_ptr,
    rows,
    hidden_size,
    stride_s,
    stride_out,
    stride_further,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0)
    column = tl.arange(0, BLOCK)[None, :]
    weight = tl.load(weight_ptr + column, mask=column < hidden_size, other=0.0).to(tl.float32)
    weight_sum = tl.zeros([ROWS, BLOCK], tl.float32)
    for tile in range(program, tl.cdiv(rows, ROWS), tl.num_programs(0)):
        row = tl.arange(0, ROWS).to(tl.int64) + tile * ROWS
        inside = (row < rows)[:, None] & (column < hidden_size)
        stored = tl.load(s_ptr + row[:, None] * stride_s + column, mask=inside, other=0.0)
        g = tl.load(grad_out_ptr + row[:, None] * stride_out + column, mask=inside, other=0.0).to(tl.float32)
        if grad_s_ptr is not None:
            further = tl.load(grad_s_ptr + row[:, None] * stride_further + column, mask=inside, other=0.0)
        rstd = tl.load(rstd_ptr + row, mask=row < rows, other=0.0)[:, None]
        normal = stored.to(tl.float32) * rstd
        if partial_ptr is not None:
            weight_sum += g * normal.to(s_ptr.dtype.element_ty).to(tl.float32)
        g *= weight
        mean = tl.sum(g * normal, 1)[:, None] / hidden_size
        ds = rstd * (g - normal * mean)
        if grad_s_ptr is not None:
            ds += further.to(tl.float32)
        place = row[:, None] * hidden_size + column
        tl.store(gradient_ptr + place, ds.to(gradient_ptr.dtype.element_ty), mask=inside)
    if partial_ptr is not None:
        into = partial_ptr + program * hidden_size + tl.arange(0, BLOCK)
        tl.store(into, tl.sum(weight_sum, 0), mask=tl.arange(0, BLOCK) < hidden_size)


def specialisations(warp_size: int) -> list[Specialisation]:
    """What CI compiles: the residual stream, the norm of heads, row sizes that are not a power of two or not
    divisible by 16, rows so far apart that their stride needs 64 bits."""
    made = []
    shapes = {
        "residual": [(896, 896), (2048, 2048), (4096, 4096), (899, 899), (4096, 2**31)],
        "heads": [(64, 64), (128, 128)],
    }
    dtypes = (torch.bfloat16, torch.float32)
    for dtype, (kind, widths) in itertools.product(dtypes, shapes.items()):
        for hidden_size, stride in widths:
            residual = kind == "residual"
            further = {"grad_s_ptr": dtype if residual else None}
            settings: dict[str, Any] = {
                "name": f"{ELEMENT_TYPES[dtype]}, {kind}, H = {hidden_size}, stride {stride}",
                "constants": _tiling(hidden_size),
                "num_warps": _warps(hidden_size, warp_size),
                "wide_loads": hidden_size % 16 == 0,
            }
            made += [
                Specialisation(
                    kernel=forward_kernel,
                    arguments={
                        "x_ptr": dtype,
                        "residual_ptr": dtype if residual else None,
                        "weight_ptr": dtype,
                        "out_ptr": dtype,
                        "s_ptr": dtype if residual else None,
                        "rstd_ptr": torch.float32,
                        "rows": 16_384,
                        "hidden_size": hidden_size,
                        "stride_x": stride,
                        "stride_residual": stride if residual else 0,
                        "eps": 1e-6,
                    },
                    **settings,
                ),
                Specialisation(
                    kernel=backward_kernel,
                    arguments={
                        "s_ptr": dtype,
                        "weight_ptr": dtype,
                        "rstd_ptr": torch.float32,
                        "grad_out_ptr": dtype,
                        **further,
                        "gradient_ptr": dtype,
                        "partial_ptr": torch.float32,
                        "rows": 16_384,
                        "hidden_size": hidden_size,
                        "stride_s": stride,
                        "stride_out": stride,
                        "stride_further": stride if residual else 0,
                    },
                    **settings,
                ),
            ]
    return made
