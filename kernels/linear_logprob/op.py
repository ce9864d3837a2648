"""`linear_logprob`: the differentiable operator; picks the path for the device."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ludus.kernels.arguments import accumulation_dtype, check_targets, temperature_rows
from ludus.kernels.distribution import RowSums
from ludus.kernels.linear_logprob import cpu
from ludus.kernels.linear_logprob.problem import Problem
from ludus.kernels.linear_logprob.reference import linear_logprob_reference
from ludus.kernels.paths import fall_back, path_for


class LinearLogprob(NamedTuple):
    """Each [M], in nats, float32 (float64 for float64 inputs), differentiable once."""

    logprobs: Tensor
    entropy: Tensor
    lse: Tensor
    """The log-sum-exp of z."""


def linear_logprob(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float | Tensor = 1.0,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> LinearLogprob:
    """Log-probability of each target, entropy and log-sum-exp under softmax(z), from hidden states.

    With `z = softcap(hidden weightᵀ + bias) / temperature`, `softcap(x) = c tanh(x / c)` (Gemma 2, arXiv
    2408.00118). hidden [M, H] and weight [V, H] of one float dtype, targets [M] integers in [0, V),
    temperature a positive number or [M], bias [V] or None, softcap a positive number or None. Gradients go to
    hidden, weight and bias; one that is not needed costs nothing. The [M, V] logits never exist as a whole,
    and sums are float32 or better.

    A bias of -inf makes a token of the vocabulary impossible (without softcap): probability 0, gradient 0. A
    row without any possible token gives (-inf, 0, -inf) and no gradient.

    Raises ValueError if the shapes or dtypes do not fit together, a target is out of range, or a temperature
    or softcap is not positive.
    """
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden must be [M, H] and weight [V, H], not {list(hidden.shape)} and {list(weight.shape)}; "
            "flatten the leading dimensions of hidden"
        )
    (rows, hidden_size), vocabulary = hidden.shape, len(weight)
    dtype = accumulation_dtype(hidden)
    if weight.dtype != hidden.dtype:
        raise ValueError(
            f"hidden is {hidden.dtype} but weight {weight.dtype}; cast one to the dtype of the other"
        )
    if not vocabulary or not hidden_size:
        raise ValueError(f"weight is {list(weight.shape)}; neither the vocabulary nor a row may be empty")
    if bias is not None and bias.shape != (vocabulary,):
        raise ValueError(f"bias must be [{vocabulary}], one per vocabulary entry, not {list(bias.shape)}")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap must be positive, not {softcap}; leave it out where the model has none")
    check_targets(targets, rows, vocabulary)
    temperature_M = temperature_rows(temperature, rows, hidden.device, dtype)
    path = path_for(hidden)
    fused = dtype == torch.float32 and (hidden.dtype.itemsize == 2 or not hidden.is_cuda)
    if path == "triton" and not fused:
        fall_back("linear_logprob", f"only 16-bit products are fused, and these are {hidden.dtype}")
        path = "cpu"
    if path == "reference":
        return LinearLogprob(*linear_logprob_reference(hidden, weight, targets, temperature, bias, softcap))
    return LinearLogprob(
        *_LinearLogprob.apply(hidden, weight, bias, targets, temperature_M, softcap, _kernels(path))
    )


class _LinearLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature_M: Tensor,
        softcap: float | None,
        kernels: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        problem = Problem(hidden, weight, bias, targets, temperature_M, softcap)
        sums, lse, kept = kernels.forward(problem, any(ctx.needs_input_grad))
        ctx.save_for_backward(hidden, weight, bias, targets, temperature_M, *sums, *(kept or ()))
        ctx.kernels, ctx.softcap = kernels, softcap
        ctx.set_materialize_grads(False)
        return sums.logprobs, sums.entropy, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, temperature_M, *state = ctx.saved_tensors
        problem = Problem(hidden, weight, bias, targets, temperature_M, ctx.softcap)
        sums, kept = RowSums(*state[:4]), ctx.kernels.Kept(*state[4:]) if state[4:] else None
        wanted = ctx.needs_input_grad[:3]
        return *ctx.kernels.backward(problem, sums, kept, gradients, wanted), None, None, None, None


def _kernels(path: str) -> Any:
    if path == "cpu":
        return cpu
    from ludus.kernels.linear_logprob import triton

    return triton
