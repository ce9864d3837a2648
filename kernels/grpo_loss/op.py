"""`grpo_loss`: the differentiable operator; picks the path for the device."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ludus.kernels.arguments import accumulation_dtype
from ludus.kernels.grpo_loss import cpu
from ludus.kernels.grpo_loss.batch import Batch, Objective, Ratio, Settings, batch, settings
from ludus.kernels.grpo_loss.kl import Estimator
from ludus.kernels.grpo_loss.reference import grpo_loss_reference
from ludus.kernels.paths import fall_back, path_for


class GrpoLoss(NamedTuple):
    """float32 (float64 for float64 log-probabilities), where the log-probabilities are. Nothing waits for a
    GPU until one of them is read."""

    loss: Tensor
    """[], differentiable once."""
    metrics: Tensor
    """[7], sums over the tokens whose weight is not 0, each counted as one, so that parts of a batch add up
    (the third by its maximum); `batch.METRICS` names them:

    - tokens: how many there are, exact up to 2²⁴;
    - ratio_sum: Σ r, of the ratio that the objective uses;
    - ratio_max_deviation: max |r - 1|, exactly 0 where logprobs and old_logprobs are the same bits;
    - clip_low, clip_high: with the objective `clip`, tokens whose gradient a bound stopped: r < 1 -
      clip_low at a negative advantage, r > 1 + clip_high at a positive one; with `cispo`, tokens whose r
      was clipped;
    - clip_dual: tokens whose gradient dual_clip stopped: r > dual_clip at a negative advantage;
    - kl_sum: Σ (ρ - 1 - log ρ) of the token's own ratio, which estimates KL(old || new) from tokens that old
      sampled.
    """


def grpo_loss(
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
) -> GrpoLoss:
    """The policy loss of GRPO and its family, differentiable in logprobs, with its metrics.

    S sequences of T tokens: logprobs, old_logprobs, advantages, weights and reference_logprobs are [S, T]; or
    [N], packed end to end, with `offsets` [S + 1] where each sequence begins and the last one ends (None: one
    sequence). weights: what each token counts, 0 or more, or bool; `token_weights` has those of the usual
    means. Where a weight is 0 nothing else is read, not even NaN.

    With ρ_n = exp(logprobs_n - old_logprobs_n), the loss is Σ_n w_n L_n over tokens n:

        r_n = ρ_n                                                          ratio="token"
        r_n = exp(mean of log ρ over the kept tokens of n's sequence)      ratio="sequence" (1)
        L_n = -min(r_n A_n, clip(r_n, 1 - clip_low, 1 + clip_high) A_n)    objective="clip" (2)
        L_n = -max(min(as above), dual_clip A_n)    where A_n < 0          with dual_clip (4)
        L_n = -sg(clip(r_n, 1 - clip_low, 1 + clip_high)) A_n logprobs_n   objective="cispo" (3)
        L_n += kl_coefficient KL_n                                         see `kl`; by ρ_n for either ratio

    (1) GSPO, arXiv 2507.18071; the gradient flows through the mean. (2) PPO, arXiv 1707.06347, eq.
    7, with the two bounds of DAPO, arXiv 2503.14476, eq. 10. (3) MiniMax-M1, arXiv 2506.13585;
    a clip_low of 1 or more sets no lower bound. (4) Dual-clip PPO, arXiv 1912.09729, eq. 5: the objective
    "clip" bounds no ratio at a negative advantage, however large; dual_clip, above 1, does. Where no token is
    kept, loss and gradients are 0.

    A log-ratio is clamped to ±20 before exp, and log-probabilities below -1e9, -inf among them, count as
    -1e9; beyond these bounds there is no gradient, and everything stays finite. NaN in a token that is kept
    is NaN in the loss.

    The gradient is computed together with the loss; the backward multiplies it by the incoming gradient.
    Half-precision log-probabilities are accepted and computed with in float32.

    Raises ValueError if the shapes do not fit together, for an unknown choice, and on a CPU for offsets that
    do not rise from 0 to N and for negative weights (the values of tensors on a GPU are not checked).
    """
    chosen = settings(ratio, objective, clip_low, clip_high, dual_clip, kl_estimator, kl_coefficient)
    given = batch(
        logprobs, old_logprobs, advantages, weights, offsets, reference_logprobs, chosen.kl_coefficient
    )
    dtype = accumulation_dtype(logprobs)
    path = path_for(logprobs)
    if path == "triton" and dtype == torch.float64:
        fall_back("grpo_loss", "float64 is not fused")
        path = "cpu"
    if path == "reference":
        return GrpoLoss(
            *grpo_loss_reference(
                logprobs,
                old_logprobs,
                advantages,
                weights,
                clip_low=clip_low,
                clip_high=clip_high,
                dual_clip=dual_clip,
                offsets=offsets,
                ratio=ratio,
                objective=objective,
                reference_logprobs=reference_logprobs,
                kl_estimator=kl_estimator,
                kl_coefficient=kl_coefficient,
            )
        )
    return GrpoLoss(*_GrpoLoss.apply(logprobs, given, chosen, path))


class TokenLosses(NamedTuple):
    """What each of N tokens, end to end, does in a loss."""

    losses: Tensor
    """[N], what it adds: w_n L_n."""
    metrics: Tensor
    """[7], as in `GrpoLoss`."""
    gradient: Tensor
    """[N], of the loss in its log-probability."""


def grpo_loss_by_token(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    *,
    offsets: Tensor | None,
    reference_logprobs: Tensor | None,
    **formula: Any,
) -> TokenLosses:
    """`grpo_loss`, token by token: the same arguments, of which none has a default. Not differentiable."""
    chosen = settings(**formula)
    given = batch(
        logprobs, old_logprobs, advantages, weights, offsets, reference_logprobs, chosen.kl_coefficient
    )
    return TokenLosses(*cpu.by_token(given, chosen))


class _GrpoLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logprobs: Tensor, given: Batch, chosen: Settings, path: str
    ) -> tuple[Tensor, Tensor]:
        kernels = _kernels(path)
        loss, metrics, gradient = kernels.forward(given, chosen)
        ctx.save_for_backward(gradient)
        ctx.kernels, ctx.shape, ctx.dtype = kernels, logprobs.shape, logprobs.dtype
        ctx.mark_non_differentiable(metrics)
        return loss, metrics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradient = ctx.kernels.backward(*ctx.saved_tensors, grad_loss, ctx.dtype)
        return gradient.view(ctx.shape), None, None, None


def _kernels(path: str) -> Any:
    if path == "cpu":
        return cpu
    from ludus.kernels.grpo_loss import triton

    return triton
