"""Torch, over all tokens at once; the gradient is explicit, not left to autograd.

With d = log π - log μ, floored and clamped as `kl` says, ρ = exp d, w a token's weight, and 1[·] whether
neither bound was reached:

    clip, token       dL/dlog π = -w A ρ 1[no bound on A's side was passed]
    clip, sequence    dL/dlog π = -r/n Σ_j w_j A_j 1[…]    the same for each of the sequence's n tokens
    cispo             dL/dlog π = -w A clip(r)
    KL                + w kl_coefficient ρ d_ref           d_ref = log π - log ref
"""

import torch
from torch import Tensor

from ludus.kernels.arguments import accumulation_dtype
from ludus.kernels.grpo_loss.batch import Batch, Settings
from ludus.kernels.grpo_loss.kl import LOG_RATIO_LIMIT, LOWEST_LOGPROB, Estimator, kl_value


def forward(batch: Batch, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """(loss [], metrics [7], dloss/dlogprobs [N])."""
    terms, metrics, gradient = by_token(batch, settings)
    return terms.sum(), metrics, gradient


def by_token(batch: Batch, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """(what each token adds to the loss [N], metrics [7], dloss/dlogprobs [N])."""
    dtype = accumulation_dtype(batch.logprobs_N)
    kept = batch.weights_N != 0

    def tokens(values: Tensor) -> Tensor:
        return torch.where(kept, values.to(dtype), 0.0)

    weight, new, old = tokens(batch.weights_N), tokens(batch.logprobs_N), tokens(batch.old_logprobs_N)
    advantage = tokens(batch.advantages_N)
    possible = kept & (new >= LOWEST_LOGPROB)
    new, old = new.clamp(min=LOWEST_LOGPROB), old.clamp(min=LOWEST_LOGPROB)
    d = new - old
    clamped = d.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    inside = possible & (d == clamped)
    token_ratio = clamped.exp()

    ratio = token_ratio
    if settings.ratio == "sequence":
        count_S = _sum(kept.to(dtype), batch).clamp(min=1.0)
        mean_S = _sum(d, batch) / count_S
        clamped_S = mean_S.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        ratio = _spread(clamped_S.exp(), batch)
    clipped = ratio.clamp(settings.lower, settings.upper)
    if settings.objective == "clip":
        below = (ratio < settings.lower) & (advantage < 0)
        above = (ratio > settings.upper) & (advantage > 0)
        dual = (ratio > settings.dual) & (advantage < 0)
        term = -torch.minimum(ratio * advantage, clipped * advantage)
        term = torch.where(dual, -settings.dual * advantage, term)
        gradient = -weight * advantage * ratio * ~(below | above | dual)
        if settings.ratio == "sequence":
            mean = _sum(gradient, batch) / count_S * (mean_S == clamped_S)
            gradient = torch.where(possible, _spread(mean, batch), 0.0)
        else:
            gradient = gradient * inside
    else:
        term = -clipped * advantage * new
        below, above = kept & (ratio < settings.lower), kept & (ratio > settings.upper)
        dual = torch.zeros_like(kept)
        gradient = -weight * advantage * clipped * possible
    if batch.reference_logprobs_N is not None:
        reference = tokens(batch.reference_logprobs_N).clamp(min=LOWEST_LOGPROB)
        value, slope = _kl(settings.kl_estimator, new, reference, inside, possible)
        term = term + settings.kl_coefficient * token_ratio * value
        gradient = gradient + settings.kl_coefficient * weight * token_ratio * slope

    metrics = torch.stack(
        [
            kept.sum(dtype=torch.float64),
            torch.where(kept, ratio, 0.0).sum(dtype=torch.float64),
            torch.cat([torch.where(kept, (ratio - 1.0).abs(), 0.0), ratio.new_zeros(1)]).amax().double(),
            below.sum(dtype=torch.float64),
            above.sum(dtype=torch.float64),
            dual.sum(dtype=torch.float64),
            (clamped.expm1() - clamped).sum(dtype=torch.float64),
        ]
    ).to(dtype)
    return weight * term, metrics, gradient


def backward(gradient: Tensor, grad_loss: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient of the log-probabilities, [N]."""
    return (gradient * grad_loss).to(dtype)


def _kl(
    estimator: Estimator, new: Tensor, reference: Tensor, inside: Tensor, possible: Tensor
) -> tuple[Tensor, Tensor]:
    """(the estimator, and the slope of the term in log π), both over ρ; see `kl`."""
    d = new - reference
    value = kl_value(estimator, new, reference)
    match estimator:
        case "k1":
            return value, d * inside
        case "k2":
            return value, d * possible
        case "k3":
            near = -torch.where(d.abs() <= LOG_RATIO_LIMIT, (-d).expm1(), -1.0)
            return value, value * inside + near * possible


def _sum(values_N: Tensor, batch: Batch) -> Tensor:
    """Over each sequence, [S]."""
    if batch.offsets is None:
        return values_N.view(batch.sequences, batch.length).sum(1)
    # In float64, since a segment is added up sequentially.
    wide_N = values_N.double()
    return torch.segment_reduce(wide_N, "sum", offsets=batch.offsets.long(), initial=0).to(values_N.dtype)


def _spread(values_S: Tensor, batch: Batch) -> Tensor:
    """The value of its sequence for each token, [N]."""
    if batch.offsets is None:
        return values_S[:, None].expand(batch.sequences, batch.length).reshape(-1)
    return values_S.repeat_interleave(batch.offsets.long().diff(), output_size=len(batch.logprobs_N))
