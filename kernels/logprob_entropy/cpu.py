"""Torch, a few rows at a time.

With z = logits / T, o the tokens of the vocabulary other than the target t, m = max z_o, s = Σ_o exp(z_o -
m):

    forward    gap     = log s - (z_t - m)        the others' log-sum-exp above the target
               logprob = -softplus(gap)           P = 1 - p_t = sigmoid(gap)
               H_o     = log s + Σ_o exp(z_o - m) (m - z_o) / s      entropy among the others
               entropy = -p_t log p_t - P log P + P H_o              each term positive, none cancels
    backward   log p_v = (z_v - peak) - rest      peak: the largest z; rest: log Σ_v exp(z_v - peak)
               dz_v    = p_v (-g - e (log p_v + entropy)),   v ≠ t   g, e: gradients of logprob and entropy
               dz_t    = g P - e p_t (log p_t + entropy)

Logits are only ever subtracted from each other, so a common shift costs no digits.
"""

import torch
from torch import Tensor

from ludus.kernels.distribution import NEVER, RowSums, coefficients, combine
from ludus.kernels.logprob_entropy.problem import Problem

CHUNK_BYTES = 8 * 2**20
"""Size of a [C, V] buffer: a few of them stay in the last-level cache."""


def forward(problem: Problem) -> RowSums:
    logits, targets, temperature_M = problem.logits, problem.targets, problem.temperature_M
    sums = RowSums(*(temperature_M.new_empty(len(logits)) for _ in range(4)))
    for part in _chunks(logits, temperature_M.dtype):
        z = logits[part].to(temperature_M.dtype) / temperature_M[part, None]
        target = targets[part, None].long()
        z_t = z.gather(1, target).squeeze(1)
        z.scatter_(1, target, -torch.inf).clamp_(min=NEVER)
        m = z.amax(1)
        e = z.sub_(m[:, None]).exp()
        s = torch.where(m == NEVER, 0.0, e.sum(1))
        spread = -e.mul_(z).sum(1)
        for whole, piece in zip(sums, combine(z_t, m, s, spread), strict=True):
            whole[part] = piece
    return sums


def backward(problem: Problem, sums: RowSums, grad_logprobs: Tensor, grad_entropy: Tensor) -> Tensor:
    """The gradient of the logits, [M, V] in their dtype."""
    logits, targets, temperature_M = problem.logits, problem.targets, problem.temperature_M
    gradient = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    e = grad_entropy / temperature_M
    constant, at_target = coefficients(sums, (grad_logprobs / temperature_M, e, None))
    for part in _chunks(logits, temperature_M.dtype):
        logp = logits[part].to(temperature_M.dtype) / temperature_M[part, None]
        logp.sub_(sums.peak[part, None]).sub_(sums.rest[part, None]).clamp_(min=NEVER)
        dz = logp.exp()
        dz.mul_(logp.mul_(-e[part, None]).add_(constant[part, None]))
        dz.scatter_(1, targets[part, None].long(), at_target[part, None])
        gradient[part] = dz
    return gradient


def _chunks(logits: Tensor, dtype: torch.dtype) -> list[slice]:
    rows, vocabulary = logits.shape
    size = max(1, CHUNK_BYTES // (vocabulary * dtype.itemsize))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
