"""The formula, sequence by sequence as the papers write it; takes the same arguments as the operator."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from ludus.kernels.arguments import accumulation_dtype
from ludus.kernels.grpo_loss.batch import Objective, Ratio
from ludus.kernels.grpo_loss.kl import (
    LOG_RATIO_LIMIT,
    LOWEST_LOGPROB,
    Estimator,
    kl_term,
    likelihood_ratio,
    log_ratio,
)


def grpo_loss_reference(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
    offsets: Tensor | None = None,
    ratio: Ratio = "token",
    objective: Objective = "clip",
    reference_logprobs: Tensor | None = None,
    kl_estimator: Estimator = "k3",
    kl_coefficient: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """(loss [], metrics [7]), differentiable by autograd; `grpo_loss` has the arguments and the formula."""
    dtype = accumulation_dtype(logprobs)
    rows: list[Any] = [slice(None)] if logprobs.dim() == 1 else list(range(len(logprobs)))
    if offsets is not None:
        rows = [slice(begin, end) for begin, end in itertools.pairwise(offsets.tolist())]
    sums, metrics = [], []
    for row in rows:
        kept = weights[row] != 0
        weight, advantage = weights[row][kept].to(dtype), advantages[row][kept].to(dtype)
        new, old = logprobs[row][kept].to(dtype), old_logprobs[row][kept].to(dtype)

        if ratio == "token":
            r = likelihood_ratio(new, old)
        else:  # the geometric mean over the sequence
            mean = log_ratio(new, old).sum() / max(len(new), 1)
            r = mean.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp().expand(new.shape)
        clipped = r.clamp(1.0 - clip_low, 1.0 + clip_high)
        if objective == "clip":
            surrogate = torch.minimum(r * advantage, clipped * advantage)
            if dual_clip is not None:
                bounded = surrogate.maximum(dual_clip * advantage)
                surrogate = torch.where(advantage < 0, bounded, surrogate)
            term = -surrogate
        else:
            term = -clipped.detach() * advantage * new.clamp(min=LOWEST_LOGPROB)
        if kl_coefficient:
            assert reference_logprobs is not None
            reference = reference_logprobs[row][kept].to(dtype)
            term = term + kl_coefficient * kl_term(kl_estimator, new, reference, old)
        sums.append((weight * term).sum())
        bounds = (1.0 - clip_low, 1.0 + clip_high, math.inf if dual_clip is None else dual_clip)
        metrics.append(_metrics(r.detach(), new.detach(), old, advantage, objective, bounds))

    if not rows:
        return logprobs.to(dtype).sum(), torch.zeros(7, dtype=dtype, device=logprobs.device)
    summed = torch.stack(metrics).sum(0)
    summed[2] = torch.stack(metrics)[:, 2].max()
    return torch.stack(sums).sum(), summed.to(dtype)


def _metrics(
    r: Tensor,
    new: Tensor,
    old: Tensor,
    advantage: Tensor,
    objective: Objective,
    bounds: tuple[float, float, float],
) -> Tensor:
    lower, upper, dual = bounds
    below, above = r < lower, r > upper
    if objective == "clip":
        below, above = below & (advantage < 0), above & (advantage > 0)
    x = log_ratio(new, old).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).double()
    deviation = torch.cat([(r - 1.0).abs(), r.new_zeros(1)]).max()
    parts = [
        torch.tensor(len(r), device=r.device),
        r.double().sum(),
        deviation,
        below.sum(),
        above.sum(),
        ((r > dual) & (advantage < 0)).sum(),
        (x.expm1() - x).sum(),
    ]
    return torch.stack([part.double() for part in parts])
