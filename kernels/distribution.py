"""A distribution over the vocabulary from running sums over its logits, in torch; `numerics.py` has it in
Triton.

With z the logits over the temperature, o the tokens of the vocabulary other than the target t, m = max z_o,
and s = Σ_o exp(z_o - m):

    gap     = log s - (z_t - m)        the others' log-sum-exp above the target
    logprob = -softplus(gap)           P = 1 - p_t = sigmoid(gap)
    H_o     = log s + Σ_o exp(z_o - m) (m - z_o) / s      entropy among the others
    entropy = -p_t log p_t - P log P + P H_o              each term positive, none cancels

Logits are only ever subtracted from each other, so a common shift costs no digits.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

NEVER = -1e30
"""Stands for a logit of -inf. Its differences are finite and their exponential is exactly 0."""

LOWEST = -1e20
"""Where a running maximum begins: below every logit, and so far above `NEVER` that the exponential of their
difference is 0."""


class RowSums(NamedTuple):
    """What the backward needs of each row, [M]."""

    logprobs: Tensor
    entropy: Tensor
    peak: Tensor
    """The largest z."""
    rest: Tensor
    """The log-sum-exp above the peak; inf where every token is impossible."""


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Of (logprobs, entropy, lse), each [M]; None is zero."""


def combine(z_t: Tensor, m: Tensor, s: Tensor, spread: Tensor) -> RowSums:
    """From the target's logit and from the others' maximum m, s and spread = Σ_o exp(z_o - m) (m - z_o); s is
    0 where no other token is possible. Each [M]."""
    delta = z_t - m
    log_s = s.log()
    gap = log_s - delta
    logprob, logprob_o = logsigmoid(-gap), logsigmoid(gap)
    p_t, p_o = logprob.exp(), logprob_o.exp()
    entropy_o = torch.where(s > 0, log_s + spread / s, 0.0)
    entropy = p_o * (entropy_o - logprob_o.clamp(min=NEVER)) - p_t * logprob.clamp(min=NEVER)
    rest = torch.logaddexp(log_s, delta) - delta.clamp(min=0)
    masked = (s == 0) & (z_t == -torch.inf)
    return RowSums(
        torch.where(masked, -torch.inf, logprob),
        torch.where(masked, 0.0, entropy),
        torch.where(masked, 0.0, torch.maximum(z_t, m)),
        torch.where(masked, torch.inf, rest),
    )


def coefficients(sums: RowSums, gradients: Gradients) -> tuple[Tensor, Tensor]:
    """(constant, gradient at the target), each [M], of the logits' gradient p (constant - e log p), e the
    gradient of the entropy. Both are zero in a row in which every token is impossible."""
    logprobs, entropy, _, rest = sums
    zero = torch.zeros_like(logprobs)
    g, e, k = (zero if gradient is None else gradient for gradient in gradients)
    at_target = logprobs.exp() * (k - e * (logprobs.clamp(min=NEVER) + entropy)) - g * torch.expm1(logprobs)
    masked = rest == torch.inf
    return torch.where(masked, 0.0, k - g - e * entropy), torch.where(masked, 0.0, at_target)
