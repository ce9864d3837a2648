"""`swiglu`: the differentiable operator; picks the path for the device."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ludus.kernels.arguments import accumulation_dtype, differentiable
from ludus.kernels.paths import fall_back, path_for
from ludus.kernels.swiglu import cpu
from ludus.kernels.swiglu.reference import swiglu_reference


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) · up, [..., I] float.

    gate and up have one shape and dtype; each may be strided, as the halves of one [..., 2 I] tensor are.
    silu is rounded to the dtype before the product, as in transformers. Both are read once and the result is
    written once; the backward keeps nothing else and computes silu anew.

    Raises ValueError if shapes or dtypes differ.
    """
    dtype = accumulation_dtype(gate)
    if gate.shape != up.shape or gate.dtype != up.dtype:
        raise ValueError(
            f"gate and up must have one shape and dtype, not {list(gate.shape)} {gate.dtype} and "
            f"{list(up.shape)} {up.dtype}"
        )
    if not gate.dim():
        raise ValueError("gate and up must be [..., I], but they have no dimension")
    path = path_for(gate)
    if path == "triton" and dtype == torch.float64:
        fall_back("swiglu", "float64 is not fused")
        path = "cpu"
    if path == "reference":
        return swiglu_reference(gate, up)
    if not differentiable(gate, up):
        return _kernels(path).forward(gate, up)
    return _Swiglu.apply(gate, up, path)


class _Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, path: str) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.kernels = _kernels(path)
        out: Tensor = ctx.kernels.forward(gate.detach(), up.detach())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        return *ctx.kernels.backward(*ctx.saved_tensors, grad_out), None


def _kernels(path: str) -> Any:
    if path == "cpu":
        return cpu
    from ludus.kernels.swiglu import triton

    return triton
