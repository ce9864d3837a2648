"""`add_rmsnorm`: the differentiable operator; picks the path for the device."""

from typing import Any, overload

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ludus.kernels.add_rmsnorm import cpu
from ludus.kernels.add_rmsnorm.reference import add_rmsnorm_reference
from ludus.kernels.arguments import accumulation_dtype, differentiable
from ludus.kernels.paths import fall_back, path_for

WIDEST = 16_384
"""Elements of a row that the fused kernels hold in registers."""


@overload
def add_rmsnorm(x: Tensor, weight: Tensor, eps: float, residual: None = None) -> Tensor: ...
@overload
def add_rmsnorm(x: Tensor, weight: Tensor, eps: float, residual: Tensor) -> tuple[Tensor, Tensor]: ...
def add_rmsnorm(
    x: Tensor, weight: Tensor, eps: float, residual: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """weight · s / sqrt(mean(s²) + eps) over the last dimension, with s = x + residual.

    x [..., H] float, weight [H], residual of x's shape. Without a residual s is x, and out [..., H] is
    returned; with one, (out, s), where s is the residual stream from here on. For the norm of each query and
    key head, x is [..., heads, D]. Normalised in float32, rounded to the dtype of s, then multiplied by the
    weight, as in transformers' Llama and Qwen; dtypes promote as they do there.

    Each input is read once and each output written once. Kept for the backward: s and a float32 per row. The
    gradient of the residual stream is added where that of s is computed; the weight's is summed in a fixed
    order.

    Raises ValueError if the shapes do not fit together.
    """
    _check(x, weight, eps, residual)
    eps = float(eps)
    path = path_for(x)
    hidden_size = weight.shape[0]
    if path == "triton" and accumulation_dtype(x) == torch.float64:
        fall_back("add_rmsnorm", "float64 is not fused")
        path = "cpu"
    if path == "triton" and hidden_size > WIDEST:
        fall_back(
            "add_rmsnorm", f"rows of {hidden_size} elements do not fit into registers (at most {WIDEST})"
        )
        path = "cpu"
    if path == "reference":
        return add_rmsnorm_reference(x, weight, eps, residual)
    if not differentiable(x, weight, residual):
        out, s, _ = _kernels(path).forward(x, weight, eps, residual)
        return out if residual is None else (out, s)
    if residual is None:
        return _Rmsnorm.apply(x, weight, eps, path)
    return _AddRmsnorm.apply(x, weight, eps, residual, path)


def _check(x: Tensor, weight: Tensor, eps: float, residual: Tensor | None) -> None:
    for tensor in (x, weight) if residual is None else (x, weight, residual):
        accumulation_dtype(tensor)
    if weight.dim() != 1 or not x.dim() or x.shape[-1] != weight.shape[0] or not weight.shape[0]:
        raise ValueError(
            f"x must be [..., H] and weight [H], H at least 1, not {list(x.shape)} and {list(weight.shape)}"
        )
    if residual is not None and residual.shape != x.shape:
        raise ValueError(f"residual must have x's shape {list(x.shape)}, not {list(residual.shape)}")
    if not eps >= 0:
        raise ValueError(f"eps must not be negative, but is {eps}")


class _Rmsnorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, path: str) -> Tensor:
        kernels = _kernels(path)
        out, _, rstd = kernels.forward(x.detach(), weight.detach(), eps, None)
        ctx.save_for_backward(x, weight, rstd)
        ctx.kernels = kernels
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rstd = ctx.saved_tensors
        grad_x, grad_weight = ctx.kernels.backward(x, weight, rstd, grad_out, None, ctx.needs_input_grad[1])
        return grad_x, grad_weight, None, None


class _AddRmsnorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, eps: float, residual: Tensor, path: str
    ) -> tuple[Tensor, Tensor]:
        kernels = _kernels(path)
        out, s, rstd = kernels.forward(x.detach(), weight.detach(), eps, residual.detach())
        ctx.save_for_backward(s, weight, rstd)
        ctx.set_materialize_grads(False)
        ctx.kernels = kernels
        ctx.dtypes = x.dtype, residual.dtype
        return out, s

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor | None, grad_s: Tensor | None) -> tuple[Tensor | None, ...]:
        s, weight, rstd = ctx.saved_tensors
        grad_weight = None
        if grad_out is not None:
            grad_s, grad_weight = ctx.kernels.backward(
                s, weight, rstd, grad_out, grad_s, ctx.needs_input_grad[1]
            )
        if grad_s is None:
            return None, None, None, None, None
        dtype_x, dtype_residual = ctx.dtypes
        return grad_s.to(dtype_x), grad_weight, None, grad_s.to(dtype_residual), None


def _kernels(path: str) -> Any:
    if path == "cpu":
        return cpu
    from ludus.kernels.add_rmsnorm import triton

    return triton
