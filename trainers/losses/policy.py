"""The policy loss of one micro-batch, as defined by the entry of `registry` that the configuration names.

Every loss is a sum over tokens, `Σ_n weight_n · term_n`. The weights hold the normaliser of the whole
minibatch, so the sum over micro-batches and its gradient are the same however the minibatch is cut.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ludus.kernels import TokenLosses, grpo_loss, grpo_loss_by_token
from ludus.trainers.batches.minibatch import Minibatch
from ludus.trainers.batches.packing import MicroBatch
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.losses.registry import LOSSES


def policy_loss(
    config: GrpoSection,
    minibatch: Minibatch,
    micro: MicroBatch,
    logprobs_N: Tensor,
    entropy_N: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What a micro-batch adds to its minibatch's loss.

    Args:
        logprobs_N: Of the micro-batch's tokens under the policy being trained; differentiable. Everything is
            computed on its device, and nothing waits for a GPU.
        entropy_N: Of the policy at these tokens, differentiable; needed where there is a bonus for it.

    Returns:
        The loss, [], and the metrics tensor of `grpo_loss`, for `PolicyMetrics.read`.
    """
    loss, metrics = grpo_loss(**_arguments(config, minibatch, micro, logprobs_N))
    if config.entropy_coefficient:
        assert entropy_N is not None
        weights_N = minibatch.weights_S[micro.token_N].to(logprobs_N.device)
        loss = loss - config.entropy_coefficient * (weights_N * entropy_N).sum()
    return loss, metrics


def policy_loss_by_token(
    config: GrpoSection, minibatch: Minibatch, micro: MicroBatch, logprobs_N: Tensor
) -> TokenLosses:
    """What each token adds to `policy_loss`, but for an entropy bonus."""
    return grpo_loss_by_token(**_arguments(config, minibatch, micro, logprobs_N))


def _arguments(
    config: GrpoSection, minibatch: Minibatch, micro: MicroBatch, logprobs_N: Tensor
) -> dict[str, Any]:
    """Those of `grpo_loss`."""
    spec, device = LOSSES[config.loss], logprobs_N.device
    ratio = spec.ratio if config.ratio == "default" else config.ratio

    def chosen(values_S: Tensor) -> Tensor:
        return values_S[micro.token_N].to(device)

    old_S = minibatch.old_logprobs_S
    reference_S = minibatch.reference_logprobs_S if config.kl_in == "loss" else None
    return {
        "logprobs": logprobs_N,
        "old_logprobs": logprobs_N.detach() if old_S is None else chosen(old_S),
        "advantages": chosen(minibatch.advantages_S),
        "weights": chosen(minibatch.weights_S),
        "clip_low": config.clip_low,
        "clip_high": config.clip_high,
        "dual_clip": config.dual_clip or None,
        "offsets": micro.offsets.to(device) if ratio == "sequence" else None,
        "ratio": ratio,
        "objective": spec.objective,
        "reference_logprobs": None if reference_S is None else chosen(reference_S),
        "kl_estimator": config.kl_estimator,
        "kl_coefficient": 0.0 if reference_S is None else config.kl_coefficient,
    }


@dataclass(frozen=True, slots=True)
class PolicyMetrics:
    """Sums and counts over tokens, so that micro-batches add up: `a + b`. `ludus.kernels.grpo_loss` defines
    each of them."""

    tokens: float = 0.0
    ratio_sum: float = 0.0
    ratio_max_deviation: float = 0.0
    clip_low: float = 0.0
    clip_high: float = 0.0
    clip_dual: float = 0.0
    kl_sum: float = 0.0

    @classmethod
    def read(cls, metrics: Tensor) -> "PolicyMetrics":
        """From the metrics tensor of `grpo_loss`; waits for the GPU."""
        return cls(*metrics.tolist())

    def __add__(self, other: "PolicyMetrics") -> "PolicyMetrics":
        return PolicyMetrics(
            self.tokens + other.tokens,
            self.ratio_sum + other.ratio_sum,
            max(self.ratio_max_deviation, other.ratio_max_deviation),
            self.clip_low + other.clip_low,
            self.clip_high + other.clip_high,
            self.clip_dual + other.clip_dual,
            self.kl_sum + other.kl_sum,
        )

    def means(self) -> dict[str, float]:
        """Per token, under the names of the run's metrics."""
        tokens = max(self.tokens, 1.0)
        return {
            "ratio_mean": self.ratio_sum / tokens,
            "ratio_max_deviation": self.ratio_max_deviation,
            "clip_low": self.clip_low / tokens,
            "clip_high": self.clip_high / tokens,
            "clip_dual": self.clip_dual / tokens,
            "policy_kl": self.kl_sum / tokens,
        }
