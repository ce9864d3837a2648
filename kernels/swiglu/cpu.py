"""Torch, some rows at a time, so that what is computed on the way stays in the cache.

forward    out   = silu(gate) up
backward   dup   = g silu(gate)                                          g: the gradient of out
           dgate = g up σ (1 + gate (1 - σ)),   σ = sigmoid(gate)
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import silu

CHUNK_BYTES = 2**18
"""Size of a [C, I] buffer: the few that a pass works on stay in a second-level cache."""


def forward(gate: Tensor, up: Tensor) -> Tensor:
    """out, [..., I]."""
    if gate.numel() * gate.itemsize <= CHUNK_BYTES:
        return silu(gate).mul_(up)
    out = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    for g, u, o in _chunks(gate, up, out):
        torch.mul(silu(g), u, out=o)
    return out


def backward(gate: Tensor, up: Tensor, grad_out: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of gate and up, [..., I]."""
    grad_gate, grad_up = (torch.empty(gate.shape, dtype=gate.dtype, device=gate.device) for _ in range(2))
    for z, u, g, dz, du in _chunks(gate, up, grad_out, grad_gate, grad_up):
        torch.mul(g, silu(z), out=du)
        torch.ops.aten.silu_backward.grad_input(g * u, z, grad_input=dz)
    return grad_gate, grad_up


def _chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same few rows of each. Outputs are contiguous, so their pieces are views of them."""
    intermediate_size = tensors[0].shape[-1]
    rows = [
        tensor.reshape(-1, intermediate_size) if intermediate_size else tensor.reshape(0, 0)
        for tensor in tensors
    ]
    size = max(1, CHUNK_BYTES // max(1, intermediate_size * tensors[0].itemsize))
    for start in range(0, len(rows[0]), size):
        yield tuple(tensor[start : start + size] for tensor in rows)
