"""Policy losses as pure functions over flat tensors of scored tokens.

A batch has E episodes, R rows (training sequences; an episode that forked has several) and S sampled tokens;
a micro-batch scores N of them. Every loss is a sum over tokens, `Σ_n weight_n · term_n`, whose weights
`row_weights` computes once from the whole batch. So the sum over micro-batches, and its gradient, is the same
however the batch is cut.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LossType = Literal["grpo", "dr_grpo", "dapo"]

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are clamped to this before exp, so that a sampled token to which one side gives a
log-probability of -200 yields a finite loss, and no gradient."""


def row_weights(loss_type: LossType, tokens_R: Tensor, episode_R: Tensor, longest: int) -> Tensor:
    """What one token of each row weighs in the batch's loss, [R] float64.

    tokens_R: sampled tokens of each row. episode_R: the episode that each row is part of. longest: the
    configured limit on an episode's sampled tokens, the constant of `dr_grpo`. With o_i the sampled tokens of
    episode i, and E episodes:

    - `grpo`: 1/E · 1/|o_i|, the mean over episodes of each one's mean (DeepSeekMath, arXiv 2402.03300,
      eq. 3);
    - `dr_grpo`: 1/E · 1/longest, so that a wrong answer does not get cheaper by being long (arXiv
      2503.20783, section 3.1);
    - `dapo`: 1/Σ_i |o_i|, the mean over all tokens (DAPO, arXiv 2503.14476, eq. 8).

    Episodes without sampled tokens count in E, as they do in the expectation. Raises ValueError if nothing
    was sampled.
    """
    tokens_R, episode_R = tokens_R.double(), episode_R.long()
    if tokens_R.sum() == 0:
        raise ValueError(
            "the batch has no sampled token to train on; all its episodes are faults or scripted ones"
        )
    _, episode_R = torch.unique(episode_R, return_inverse=True)
    episodes = int(episode_R.max()) + 1
    match loss_type:
        case "grpo":
            tokens_E = torch.zeros(episodes, dtype=torch.float64).index_add_(0, episode_R, tokens_R)
            return 1.0 / (episodes * tokens_E[episode_R].clamp(min=1.0))
        case "dr_grpo":
            return torch.full_like(tokens_R, 1.0 / (episodes * longest))
        case "dapo":
            return torch.full_like(tokens_R, 1.0 / tokens_R.sum().item())


@dataclass(frozen=True, slots=True)
class PolicyMetrics:
    """Sums and counts over tokens, so that micro-batches add up exactly: `a + b`."""

    tokens: int
    ratio_sum: float
    ratio_max_deviation: float
    """max |ratio - 1|."""
    clip_low: int
    """Tokens whose gradient the lower bound stopped: ratio < 1 - clip_low at a negative advantage."""
    clip_high: int
    """Tokens whose gradient the upper bound stopped: ratio > 1 + clip_high at a positive advantage."""
    kl_sum: float
    """Σ (ratio - 1 - log ratio): estimates KL(old || new) from tokens that old sampled."""

    def __add__(self, other: "PolicyMetrics") -> "PolicyMetrics":
        return PolicyMetrics(
            self.tokens + other.tokens,
            self.ratio_sum + other.ratio_sum,
            max(self.ratio_max_deviation, other.ratio_max_deviation),
            self.clip_low + other.clip_low,
            self.clip_high + other.clip_high,
            self.kl_sum + other.kl_sum,
        )

    def means(self) -> dict[str, float]:
        """Per token, under the names of the run's metrics."""
        tokens = max(self.tokens, 1)
        return {
            "ratio_mean": self.ratio_sum / tokens,
            "ratio_max_deviation": self.ratio_max_deviation,
            "clip_low": self.clip_low / tokens,
            "clip_high": self.clip_high / tokens,
            "policy_kl": self.kl_sum / tokens,
        }


def likelihood_ratio(logprobs_N: Tensor, old_logprobs_N: Tensor) -> Tensor:
    """exp(logprobs - old_logprobs), the log-ratio clamped to ±LOG_RATIO_LIMIT. Differentiable in logprobs."""
    return (logprobs_N - old_logprobs_N).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def policy_loss(
    logprobs_N: Tensor,
    old_logprobs_N: Tensor,
    advantages_N: Tensor,
    weights_N: Tensor,
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, PolicyMetrics]:
    """-Σ_n weight_n · min(ratio_n A_n, clip(ratio_n, 1 - clip_low, 1 + clip_high) A_n), a scalar (PPO, arXiv
    1707.06347, eq. 7; separate bounds: DAPO, arXiv 2503.14476, eq. 10), and its metrics. Differentiable in
    logprobs.

    weights_N: `row_weights(...)[micro_batch.row_N]`. The sum over a batch's micro-batches is the batch's
    loss.
    """
    ratio_N = likelihood_ratio(logprobs_N, old_logprobs_N)
    clipped_N = ratio_N.clamp(1.0 - clip_low, 1.0 + clip_high)
    objective_N = torch.minimum(ratio_N * advantages_N, clipped_N * advantages_N)
    loss = -(objective_N * weights_N).sum()
    return loss, _metrics(ratio_N.detach(), advantages_N, clip_low, clip_high)


def policy_loss_reference(
    loss_type: LossType,
    logprobs: list[list[float]],
    old_logprobs: list[list[float]],
    advantages: list[list[float]],
    clip_low: float,
    clip_high: float,
    longest: int,
) -> float:
    """The batch's loss, token by token as the papers write it; arguments hold a list per episode.

    With ρ = exp(log π - log π_old) and L_it = -min(ρ_it A_it, clip(ρ_it, 1 - clip_low, 1 + clip_high) A_it):

    - `grpo`: 1/E Σ_i 1/|o_i| Σ_t L_it (arXiv 2402.03300, eq. 3, without its KL term);
    - `dr_grpo`: 1/E Σ_i 1/longest Σ_t L_it (arXiv 2503.20783, section 3.1);
    - `dapo`: 1/(Σ_i |o_i|) Σ_i Σ_t L_it (arXiv 2503.14476, eq. 8).
    """
    sums = []
    for new, old, advantage in zip(logprobs, old_logprobs, advantages, strict=True):
        total = 0.0
        for p, q, a in zip(new, old, advantage, strict=True):
            ratio = math.exp(max(-LOG_RATIO_LIMIT, min(LOG_RATIO_LIMIT, p - q)))
            clipped = max(1.0 - clip_low, min(1.0 + clip_high, ratio))
            total -= min(ratio * a, clipped * a)
        sums.append(total)
    lengths = [len(episode) for episode in logprobs]
    match loss_type:
        case "grpo":
            return sum(s / max(n, 1) for s, n in zip(sums, lengths, strict=True)) / len(sums)
        case "dr_grpo":
            return sum(sums) / (len(sums) * longest)
        case "dapo":
            return sum(sums) / sum(lengths)


def soft_overlong_penalty(lengths: Tensor, longest: int, margin: int) -> Tensor:
    """What is added to the reward of a long answer: 0 up to `longest - margin` tokens, then falling linearly
    to -1 at `longest`, and -1 beyond (DAPO, arXiv 2503.14476, eq. 13, L_max = longest, L_cache = margin).
    float64.

    Raises ValueError unless 0 < margin <= longest.
    """
    if not 0 < margin <= longest:
        raise ValueError(f"the margin must be between 1 and the limit of {longest} tokens, not {margin}")
    return ((longest - margin - lengths.double()) / margin).clamp(-1.0, 0.0)


def _metrics(ratio_N: Tensor, advantages_N: Tensor, clip_low: float, clip_high: float) -> PolicyMetrics:
    if len(ratio_N) == 0:
        return PolicyMetrics(0, 0.0, 0.0, 0, 0, 0.0)
    ratio_N = ratio_N.double()
    return PolicyMetrics(
        tokens=len(ratio_N),
        ratio_sum=float(ratio_N.sum()),
        ratio_max_deviation=float((ratio_N - 1.0).abs().max()),
        clip_low=int(((ratio_N < 1.0 - clip_low) & (advantages_N < 0)).sum()),
        clip_high=int(((ratio_N > 1.0 + clip_high) & (advantages_N > 0)).sum()),
        kl_sum=float((ratio_N - 1.0 - ratio_N.log()).sum()),
    )
