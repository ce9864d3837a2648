"""`logprob_entropy`: the differentiable operator; picks the path for the device."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ludus.kernels.arguments import accumulation_dtype, check_targets, temperature_rows
from ludus.kernels.distribution import RowSums
from ludus.kernels.logprob_entropy import cpu
from ludus.kernels.logprob_entropy.problem import Problem
from ludus.kernels.logprob_entropy.reference import logprob_entropy_reference
from ludus.kernels.paths import fall_back, path_for


class LogprobEntropy(NamedTuple):
    """Each [M], in nats, float32 (float64 for float64 inputs), differentiable once."""

    logprobs: Tensor
    entropy: Tensor


def logprob_entropy(logits: Tensor, targets: Tensor, temperature: float | Tensor = 1.0) -> LogprobEntropy:
    """Log-probability of each target, and entropy, under `softmax(logits / temperature)`.

    logits [M, V] float (rows may be strided), targets [M] integers in [0, V), temperature a positive number
    or [M]. The logits are read once forward, and once more backward, which writes their gradient and no more.

    Logits of -inf are tokens that cannot be drawn: probability 0, gradient 0 (a target among them:
    log-probability -inf, and the gradient of the limit, onehot - p). A row without any other logit gives
    (-inf, 0) and no gradient. A logit of NaN makes its row NaN.

    Raises ValueError if the shapes do not fit together, a target is out of range or a temperature not
    positive.
    """
    if logits.dim() != 2:
        raise ValueError(f"logits must be [M, V], not {list(logits.shape)}; flatten the leading dimensions")
    rows, vocabulary = logits.shape
    dtype = accumulation_dtype(logits)
    check_targets(targets, rows, vocabulary)
    temperature_M = temperature_rows(temperature, rows, logits.device, dtype)
    path = path_for(logits)
    if path == "triton" and dtype == torch.float64:
        fall_back("logprob_entropy", "float64 is not fused")
        path = "cpu"
    if path == "reference":
        return LogprobEntropy(*logprob_entropy_reference(logits, targets, temperature))
    return LogprobEntropy(*_LogprobEntropy.apply(logits, targets, temperature_M, _kernels(path)))


class _LogprobEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, temperature_M: Tensor, kernels: Any
    ) -> tuple[Tensor, Tensor]:
        logits = logits.detach()
        sums = kernels.forward(Problem(logits, targets, temperature_M))
        ctx.save_for_backward(logits, targets, temperature_M, *sums)
        ctx.kernels = kernels
        return sums.logprobs, sums.entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logprobs: Tensor, grad_entropy: Tensor) -> tuple[Tensor | None, ...]:
        problem, sums = Problem(*ctx.saved_tensors[:3]), RowSums(*ctx.saved_tensors[3:])
        return ctx.kernels.backward(problem, sums, grad_logprobs, grad_entropy), None, None, None


def _kernels(path: str) -> Any:
    if path == "cpu":
        return cpu
    from ludus.kernels.logprob_entropy import triton

    return triton
