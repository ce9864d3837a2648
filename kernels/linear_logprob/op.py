"""`linear_logprob`: the differentiable operator, chunked over rows.

Data flow, for a chunk of C rows (z and e are [C, V] and the only large buffers; T is the temperature):

    forward    z = h Wᵀ/T + b/T                                   one matrix product
               m = max z,  e = exp(z - m),  s = Σ e
               logprob = z[target] - m - log s
               entropy = log s - Σ e (z - m) / s
    backward   p = e / s, g the incoming gradient of logprob
               dh = g/T (W[target] - p W)                         one matrix product
               dW = Σ g/T onehot(target) hᵀ - pᵀ (g/T h)          one matrix product
               db = Σ g/T (onehot(target) - p)

The factors g/T and 1/s go onto the small sides ([C, H] and [C]), so that the backward makes no pass over [C,
V] besides the two products, and never writes to e. If all of e fits in `KEPT_BYTES` it is kept from the
forward; otherwise the backward computes it again, chunk by chunk, which costs one more matrix product.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_BYTES = 16 * 2**20
"""Size of a [C, V] buffer. On AVX-512 cores at V = 32,768, H = 256, from 8 to 32 MiB are equally fast; much
smaller starves the matrix product, much larger leaves the last-level cache."""

KEPT_BYTES = 128 * 2**20
"""How much of e one call may keep between forward and backward. Computing it again costs a fifth of the whole
step of that model (1.9 s of processor time against 1.6 s, micro-batches of 1,024 tokens)."""


def linear_logprob(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target, and entropy, under `softmax((hidden weightᵀ + bias) / temperature)`.

    hidden [N, H], weight [V, H], targets [N] integers in [0, V), bias [V] or None. Returns (logprobs [N],
    entropy [N]) in nats, accumulated and returned in float32 (float64 for float64 inputs). `logprobs` is
    differentiable once, in hidden, weight and bias; `entropy` is a detached metric. The [N, V] logits never
    exist as a whole.

    Raises ValueError if the shapes do not fit together or the temperature is not positive.
    """
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden must be [N, H] and weight [V, H], not {list(hidden.shape)} and {list(weight.shape)}"
        )
    if targets.shape != hidden.shape[:1]:
        raise ValueError(
            f"targets must be [{hidden.shape[0]}], one per row of hidden, not {list(targets.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be [{weight.shape[0]}], one per word, not {list(bias.shape)}")
    if not temperature > 0:
        raise ValueError(
            f"temperature must be positive, not {temperature}; greedy decoding has no log-probabilities"
        )
    return _LinearLogprob.apply(hidden, weight, targets, temperature, bias)


class _LinearLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        rows, words = hidden.shape[0], weight.shape[0]
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        differentiable = any(ctx.needs_input_grad)
        kept = differentiable and rows * words * dtype.itemsize <= KEPT_BYTES
        chunk = _chunk_rows(words, dtype)
        wide_weight = _accumulable(weight, dtype)

        z_buffer = hidden.new_empty(min(chunk, rows), words, dtype=dtype)
        e_buffer = hidden.new_empty(rows if kept else min(chunk, rows), words, dtype=dtype)
        logprobs = hidden.new_empty(rows, dtype=dtype)
        entropy = hidden.new_empty(rows, dtype=dtype)
        maximum = hidden.new_empty(rows, dtype=dtype)
        total = hidden.new_empty(rows, dtype=dtype)
        for start in range(0, rows, chunk):
            part = slice(start, min(start + chunk, rows))
            size = part.stop - part.start
            z = _logits(hidden[part], wide_weight, temperature, bias, z_buffer[:size])
            e = e_buffer[part] if kept else e_buffer[:size]
            torch.amax(z, dim=1, out=maximum[part])
            z.sub_(maximum[part, None])
            torch.exp(z, out=e)
            torch.sum(e, dim=1, out=total[part])
            chosen = z.gather(1, targets[part, None]).squeeze(1)
            log_total = total[part].log()
            torch.sub(chosen, log_total, out=logprobs[part])
            torch.sub(log_total, z.mul_(e).sum(1).div_(total[part]), out=entropy[part])

        if differentiable:
            ctx.save_for_backward(hidden, weight, targets, bias, maximum, total, e_buffer if kept else None)
            ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logprobs: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, bias, maximum, total, kept = ctx.saved_tensors
        rows, words = hidden.shape[0], weight.shape[0]
        dtype = total.dtype
        want_hidden, want_weight, _, _, want_bias = ctx.needs_input_grad
        scale = grad_logprobs / ctx.temperature
        shrunk = scale / total
        wide_weight = _accumulable(weight, dtype)

        grad_hidden = torch.empty_like(hidden) if want_hidden else None
        grad_weight = hidden.new_zeros(weight.shape, dtype=dtype) if want_weight else None
        grad_bias = hidden.new_zeros(words, dtype=dtype) if want_bias else None

        chunk = rows if kept is not None else _chunk_rows(words, dtype)
        buffer = None if kept is not None else hidden.new_empty(min(chunk, rows), words, dtype=dtype)
        for start in range(0, rows, max(chunk, 1)):
            part = slice(start, min(start + chunk, rows))
            h = hidden[part].to(dtype)
            if buffer is None:
                e = kept
            else:
                e = _logits(
                    hidden[part], wide_weight, ctx.temperature, bias, buffer[: part.stop - part.start]
                )
                e.sub_(maximum[part, None]).exp_()
            if grad_hidden is not None:
                pulled = torch.mm(e, wide_weight).mul_(shrunk[part, None])
                grad_hidden[part] = wide_weight[targets[part]].mul_(scale[part, None]).sub_(pulled)
            if grad_weight is not None:
                grad_weight.addmm_(e.t(), h * shrunk[part, None], alpha=-1)
            if grad_bias is not None:
                grad_bias.addmv_(e.t(), shrunk[part], alpha=-1)
        if grad_weight is not None:
            grad_weight.index_add_(0, targets, hidden.to(dtype) * scale[:, None])
            grad_weight = grad_weight.to(weight.dtype)
        if grad_bias is not None:
            grad_bias.index_add_(0, targets, scale)
            grad_bias = grad_bias.to(bias.dtype)
        return grad_hidden, grad_weight, None, None, grad_bias


def _chunk_rows(words: int, dtype: torch.dtype) -> int:
    return max(1, CHUNK_BYTES // (words * dtype.itemsize))


def _accumulable(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight in the dtype that is accumulated in; no copy where it is in that already."""
    return weight.detach().to(dtype)


def _logits(hidden: Tensor, weight: Tensor, temperature: float, bias: Tensor | None, out: Tensor) -> Tensor:
    """(hidden weightᵀ + bias) / temperature, into `out`."""
    torch.mm(hidden.detach().to(weight.dtype) / temperature, weight.t(), out=out)
    return out if bias is None else out.add_(bias.detach(), alpha=1 / temperature)
