"""Fused kernels: a program takes a piece of a row; where the rows of all tensors lie end to end, they are one
row."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ludus.kernels.compilation import ELEMENT_TYPES, Specialisation, warp_size
from ludus.kernels.numerics import LOG2E

PER_THREAD = 16
"""Elements that a thread takes: two or more loads of 16 bytes in flight for each input."""

WARPS = 4


def forward(gate: Tensor, up: Tensor) -> Tensor:
    """out, [..., I]."""
    out = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    (gate, up), rows, intermediate_size = _rows(gate, up)
    if out.numel():
        block = _block(warp_size())
        forward_kernel[(rows * triton.cdiv(intermediate_size, block),)](
            gate,
            up,
            out,
            triton.cdiv(intermediate_size, block),
            intermediate_size,
            gate.stride(0),
            up.stride(0),
            BLOCK=block,
            num_warps=WARPS,
        )
    return out


def backward(gate: Tensor, up: Tensor, grad_out: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of gate and up, [..., I]."""
    grad_gate, grad_up = (torch.empty(gate.shape, dtype=gate.dtype, device=gate.device) for _ in range(2))
    (gate, up, grad_out), rows, intermediate_size = _rows(gate, up, grad_out)
    if grad_gate.numel():
        block = _block(warp_size())
        backward_kernel[(rows * triton.cdiv(intermediate_size, block),)](
            gate,
            up,
            grad_out,
            grad_gate,
            grad_up,
            triton.cdiv(intermediate_size, block),
            intermediate_size,
            gate.stride(0),
            up.stride(0),
            grad_out.stride(0),
            BLOCK=block,
            num_warps=WARPS,
        )
    return grad_gate, grad_up


def _rows(*tensors: Tensor) -> tuple[list[Tensor], int, int]:
    """The tensors as [rows, size] with contiguous rows, and rows and size. Copies only those whose rows are
    not equally spaced; a single row if none has gaps."""
    if all(tensor.is_contiguous() for tensor in tensors):
        return [tensor.view(1, -1) for tensor in tensors], 1, tensors[0].numel()
    intermediate_size = tensors[0].shape[-1]
    rows = [tensor.reshape(-1, intermediate_size) for tensor in tensors]
    rows = [
        tensor if tensor.stride(1) == 1 or intermediate_size == 1 else tensor.contiguous() for tensor in rows
    ]
    return rows, len(rows[0]), intermediate_size


def _block(warp_size: int) -> int:
    return PER_THREAD * WARPS * warp_size


@triton.jit
def forward_kernel(
    gate_ptr, up_ptr, out_ptr, pieces, intermediate_size, stride_gate, stride_up, BLOCK: tl.constexpr
):
    row, column, inside = _place(pieces, intermediate_size, BLOCK)
    z = tl.load(gate_ptr + row * stride_gate + column, mask=inside).to(tl.float32)
    up = tl.load(up_ptr + row * stride_up + column, mask=inside).to(tl.float32)
    silu = (z * _sigmoid(z)).to(gate_ptr.dtype.element_ty).to(tl.float32)
    tl.store(
        out_ptr + row * intermediate_size + column, (silu * up).to(out_ptr.dtype.element_ty), mask=inside
    )


@triton.jit
def backward_kernel(
    gate_ptr,
    up_ptr,
    grad_out_ptr,
    grad_gate_ptr,
    grad_up_ptr,
    pieces,
    intermediate_size,
    stride_gate,
    stride_up,
    stride_out,
    BLOCK: tl.constexpr,
):
    row, column, inside = _place(pieces, intermediate_size, BLOCK)
    z = tl.load(gate_ptr + row * stride_gate + column, mask=inside).to(tl.float32)
    up = tl.load(up_ptr + row * stride_up + column, mask=inside).to(tl.float32)
    g = tl.load(grad_out_ptr + row * stride_out + column, mask=inside).to(tl.float32)
    sigmoid = _sigmoid(z)
    silu = z * sigmoid
    slope = sigmoid + silu * (1.0 - sigmoid)
    place = row * intermediate_size + column
    tl.store(grad_up_ptr + place, (g * silu).to(grad_up_ptr.dtype.element_ty), mask=inside)
    tl.store(grad_gate_ptr + place, (g * up * slope).to(grad_gate_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _place(pieces, intermediate_size, BLOCK: tl.constexpr):
    """(row, column [BLOCK], inside [BLOCK]) of this program's piece. Both in 64 bits: all of a tensor may be
    one row."""
    program = tl.program_id(0)
    row = (program // pieces).to(tl.int64)
    column = (program % pieces).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return row, column, column < intermediate_size


@triton.jit
def _sigmoid(z):
    return 1.0 / (1.0 + tl.exp2(-z * LOG2E))


def specialisations(warp_size: int) -> list[Specialisation]:
    """What CI compiles: one long row of more than 2³¹ elements, halves of a wider tensor, rows at odd
    places."""
    made = []
    layouts = {
        "end to end": (1, 18_944 * 16_384, 18_944 * 16_384),
        "more than 2^31": (1, 18_944 * 131_072, 18_944 * 131_072),
        "halves": (5, 4864, 9728),
        "odd": (3, 4099, 4099),
    }
    for dtype in (torch.bfloat16, torch.float32):
        for layout, (pieces, intermediate_size, stride) in layouts.items():
            settings: dict[str, Any] = {
                "name": f"{ELEMENT_TYPES[dtype]}, {layout}",
                "constants": {"BLOCK": _block(warp_size)},
                "num_warps": WARPS,
                "wide_loads": layout != "odd",
            }
            where = {
                "pieces": pieces,
                "intermediate_size": intermediate_size,
                "stride_gate": stride,
                "stride_up": stride,
            }
            inputs = {"gate_ptr": dtype, "up_ptr": dtype}
            gradients = {"grad_out_ptr": dtype, "grad_gate_ptr": dtype, "grad_up_ptr": dtype}
            made += [
                Specialisation(
                    kernel=forward_kernel, arguments=inputs | {"out_ptr": dtype} | where, **settings
                ),
                Specialisation(
                    kernel=backward_kernel,
                    arguments=inputs | gradients | where | {"stride_out": stride},
                    **settings,
                ),
            ]
    return made
