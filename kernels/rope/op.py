"""`rope`: the differentiable operator; picks the path for the device."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ludus.kernels.arguments import accumulation_dtype
from ludus.kernels.paths import fall_back, path_for
from ludus.kernels.rope import cpu
from ludus.kernels.rope.reference import rope_reference


def rope(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """query and key, rotated to their positions, in place.

    query [T, Hq, D], key [T, Hk, D], cos and sin [T, D], of each token's position, so that packed rows need
    nothing else. Or [B, T, …] throughout; cos and sin may be [1, T, D] then, for all of the batch.
    Half-rotation, as in transformers' Llama and Qwen; computed in float32, rounded once. Strides are
    respected; nothing is copied. The backward keeps cos and sin only, and rotates the other way.

    Use the returned tensors. A tensor that was passed holds the same numbers afterwards, as after any
    in-place operator (autograd raises if it needed the old ones), unless it is a view that requires a
    gradient, or its elements share memory: then it is left alone, because autograd would copy a view's
    gradient once more.

    Raises ValueError if shapes or dtypes do not fit together, as where only a part of each head is rotated
    (pass that part: `query[..., :R]`), and if cos or sin require a gradient.
    """
    _check(query, key, cos, sin)
    path = path_for(query)
    if path == "triton" and (problem := _not_fused(query, key)):
        fall_back("rope", problem)
        path = "cpu"
    if path == "reference":
        return rope_reference(query, key, cos, sin)
    in_place = not (_must_stay(query) or _must_stay(key))
    both: tuple[Tensor, Tensor] = _Rope.apply(query, key, cos, sin, in_place, path)
    return both


def _check(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> None:
    for tensor in (query, key, cos, sin):
        accumulation_dtype(tensor)
    *tokens, _, size = query.shape if query.dim() in (3, 4) else (-1, -1, -1)
    if tokens[0] < 0 or key.dim() != query.dim() or [*key.shape[:-2], key.shape[-1]] != [*tokens, size]:
        raise ValueError(
            "query and key must be [T, heads, D] or [B, T, heads, D], alike but for the heads, not "
            f"{list(query.shape)} and {list(key.shape)}"
        )
    if query.dtype != key.dtype:
        raise ValueError(f"query and key must have one dtype, not {query.dtype} and {key.dtype}")
    if size % 2:
        raise ValueError(f"heads must have an even size, not {size}")
    for name, angle in (("cos", cos), ("sin", sin)):
        if angle.requires_grad:
            raise ValueError(f"{name} has no gradient here; pass {name}.detach()")
        if angle.shape[-1:] != (size,):
            raise ValueError(
                f"{name} must be [..., {size}], as wide as a head, not {list(angle.shape)}; where only a "
                "part of each head is rotated, pass that part"
            )
        if angle.dim() != query.dim() - 1 or any(
            have not in (want, 1) if dim < len(tokens) - 1 else have != want
            for dim, (have, want) in enumerate(zip(angle.shape, tokens, strict=False))
        ):
            raise ValueError(f"{name} must be {[*tokens, size]}, not {list(angle.shape)}")


def _not_fused(query: Tensor, key: Tensor) -> str:
    """Why the fused kernel cannot do it, or an empty string."""
    if query.dtype == torch.float64:
        return "float64 is not fused"
    if query.stride(-1) != 1 or key.stride(-1) != 1:
        return "the elements of a head do not lie side by side"
    return ""


def _must_stay(x: Tensor) -> bool:
    """Whether x cannot be written to, or only with a copy of its gradient."""
    shared = any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True))
    return shared or (x._is_view() and x.requires_grad and torch.is_grad_enabled())


class _Rope(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, in_place: bool, path: str
    ) -> tuple[Tensor, Tensor]:
        if in_place:
            ctx.mark_dirty(query, key)
            outputs = query, key
        else:
            outputs = _like(query), _like(key)
        ctx.save_for_backward(cos, sin)
        ctx.rotate = _rotation(path)
        ctx.rotate([(query, outputs[0]), (key, outputs[1])], cos, sin, backwards=False)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_query: Tensor, grad_key: Tensor) -> tuple[Tensor | None, ...]:
        gradients = _like(grad_query), _like(grad_key)
        pairs = [(grad_query, gradients[0]), (grad_key, gradients[1])]
        ctx.rotate(pairs, *ctx.saved_tensors, backwards=True)
        return *gradients, None, None, None, None


def _like(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _rotation(path: str) -> Any:
    if path == "cpu":
        return cpu.rotate
    from ludus.kernels.rope import triton

    return triton.rotate
