"""`support_logprob`: the differentiable operator; picks the path for the device."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ludus.kernels.arguments import accumulation_dtype, check_targets, temperature_rows
from ludus.kernels.distribution import RowSums
from ludus.kernels.linear_logprob.op import LinearLogprob
from ludus.kernels.paths import fall_back, path_for
from ludus.kernels.support_logprob import cpu
from ludus.kernels.support_logprob.problem import SupportProblem
from ludus.kernels.support_logprob.reference import support_logprob_reference
from ludus.kernels.support_logprob.support import Support


def support_logprob(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    support: Support,
    temperature: float | Tensor = 1.0,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> LinearLogprob:
    """Log-probability of each target, entropy and log-sum-exp under the softmax over the token's kept set
    alone: the distribution that truncated sampling (top-k, top-p, min-p) drew from.

    hidden [M, H], weight [V, H], targets [M] integers in [0, V), support the kept sets of the M tokens,
    temperature a positive number or [M], bias [V] or None, softcap a positive number c or None. With K kept
    ids in all,

        z_k = softcap(hidden[m] · weight[v] + bias[v]) / temperature[m],    v the k-th kept id of m

    where softcap(x) = c tanh(x / c). Only the kept rows of the weight are read, once forward and once
    backward, and K numbers are kept in between; the gradient of the weight is dense, [V, H], and is summed in
    a fixed order. hidden and weight may be strided by rows; rows that are not contiguous are copied.

    A target outside its set has log-probability -inf and the gradient of that limit: -p for the kept ids,
    nothing for the target. An empty set gives (-inf, 0, -inf) and no gradient.

    Raises ValueError if the shapes do not fit together, a target or a kept id is out of range (on a GPU,
    where values are not checked, it gives NaN), a temperature or the softcap is not positive.
    """
    dtype = _check(hidden, weight, targets, support, bias, softcap)
    temperature_M = temperature_rows(temperature, len(hidden), hidden.device, dtype)
    path = path_for(hidden)
    if path == "triton" and dtype == torch.float64:
        fall_back("support_logprob", "float64 is not fused")
        path = "cpu"
    if path == "reference":
        return support_logprob_reference(hidden, weight, targets, support, temperature, bias, softcap)
    logprobs, entropy, lse = _SupportLogprob.apply(
        hidden, weight, bias, targets, temperature_M, softcap, support, _kernels(path)
    )
    return LinearLogprob(logprobs, entropy, lse)


def _check(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    support: Support,
    bias: Tensor | None,
    softcap: float | None,
) -> torch.dtype:
    """The dtype to accumulate in."""
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden must be [M, H] and weight [V, H], not {list(hidden.shape)} and {list(weight.shape)}"
        )
    rows, vocabulary = len(hidden), len(weight)
    check_targets(targets, rows, vocabulary)
    if len(support) != rows:
        raise ValueError(
            f"support must have a set for each of the {rows} rows of hidden, but it has {len(support)}"
        )
    for name, tensor in (
        ("weight", weight),
        ("targets", targets),
        ("support", support.ids),
        ("bias", bias),
    ):
        if tensor is not None and tensor.device != hidden.device:
            raise ValueError(f"{name} is on {tensor.device}, but hidden on {hidden.device}; move one of them")
    kept = support.ids
    if kept.device.type == "cpu" and len(kept) and int(kept.max()) >= vocabulary:
        raise ValueError(f"the support keeps id {int(kept.max())}, but the weight has only {vocabulary} rows")
    if bias is not None and bias.shape != (vocabulary,):
        raise ValueError(f"bias must be [{vocabulary}], one per vocabulary entry, not {list(bias.shape)}")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap must be positive, not {softcap}; None leaves logits as they are")
    return torch.promote_types(accumulation_dtype(hidden), accumulation_dtype(weight))


class _SupportLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature_M: Tensor,
        softcap: float | None,
        support: Support,
        kernels: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.kernels, ctx.softcap, ctx.support = kernels, softcap, support
        sums, z = kernels.forward(
            SupportProblem(hidden, weight, bias, targets, temperature_M, softcap, support)
        )
        ctx.save_for_backward(hidden, weight, bias, targets, temperature_M, *sums, z)
        lse = torch.where(sums.rest == torch.inf, -torch.inf, sums.peak + sums.rest)
        return sums.logprobs, sums.entropy, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, temperature_M, *sums, z = ctx.saved_tensors
        problem = SupportProblem(hidden, weight, bias, targets, temperature_M, ctx.softcap, ctx.support)
        wanted = ctx.needs_input_grad[:3]
        mine = ctx.kernels.backward(problem, RowSums(*sums), z, gradients, wanted)
        return *mine, None, None, None, None, None


def _kernels(path: str) -> Any:
    if path == "cpu":
        return cpu
    from ludus.kernels.support_logprob import triton

    return triton
