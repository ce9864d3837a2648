"""What the policy loss of a batch is made of besides its formula, which is `ludus.kernels.grpo_loss`.

A batch has E episodes, R rows (training sequences; an episode that forked has several) and S sampled tokens;
a micro-batch scores N of them. Every loss is a sum over tokens, `Σ_n weight_n · term_n`, whose weights
`row_weights` computes once from the whole batch; they are the mask of a `grpo_loss(…, aggregation="sum")`. So
the sum over micro-batches, and its gradient, is the same however the batch is cut.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LossType = Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo"]


def row_weights(loss_type: LossType, tokens_R: Tensor, episode_R: Tensor, longest: int) -> Tensor:
    """What one token of each row weighs in the batch's loss, [R] float64.

    tokens_R: sampled tokens of each row. episode_R: the episode that each row is part of. longest: the
    configured limit on an episode's sampled tokens, the constant of `dr_grpo`. With o_i the sampled tokens of
    episode i, and E episodes:

    - `grpo`, `gspo`: 1/E · 1/|o_i|, the mean over episodes of each one's mean (DeepSeekMath, arXiv
      2402.03300, eq. 3);
    - `dr_grpo`: 1/E · 1/longest, so that a wrong answer does not get cheaper by being long (arXiv
      2503.20783, section 3.1);
    - `dapo`, `cispo`: 1/Σ_i |o_i|, the mean over all tokens (DAPO, arXiv 2503.14476, eq. 8).

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
        case "grpo" | "gspo":
            tokens_E = torch.zeros(episodes, dtype=torch.float64).index_add_(0, episode_R, tokens_R)
            return 1.0 / (episodes * tokens_E[episode_R].clamp(min=1.0))
        case "dr_grpo":
            return torch.full_like(tokens_R, 1.0 / (episodes * longest))
        case "dapo" | "cispo":
            return torch.full_like(tokens_R, 1.0 / tokens_R.sum().item())


@dataclass(frozen=True, slots=True)
class PolicyMetrics:
    """Sums and counts over tokens, so that micro-batches add up: `a + b`. `ludus.kernels.grpo_loss` says
    what each one is."""

    tokens: float = 0.0
    ratio_sum: float = 0.0
    ratio_max_deviation: float = 0.0
    clip_low: float = 0.0
    clip_high: float = 0.0
    kl_sum: float = 0.0

    @classmethod
    def read(cls, metrics: Tensor) -> "PolicyMetrics":
        """From what `grpo_loss` measured; waits for the GPU."""
        return cls(*metrics.tolist())

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
        tokens = max(self.tokens, 1.0)
        return {
            "ratio_mean": self.ratio_sum / tokens,
            "ratio_max_deviation": self.ratio_max_deviation,
            "clip_low": self.clip_low / tokens,
            "clip_high": self.clip_high / tokens,
            "policy_kl": self.kl_sum / tokens,
        }


def soft_overlong_penalty(lengths: Tensor, longest: int, margin: int) -> Tensor:
    """What is added to the reward of a long answer: 0 up to `longest - margin` tokens, then falling linearly
    to -1 at `longest`, and -1 beyond (DAPO, arXiv 2503.14476, eq. 13, L_max = longest, L_cache = margin).
    float64.

    Raises ValueError unless 0 < margin <= longest.
    """
    if not 0 < margin <= longest:
        raise ValueError(f"the margin must be between 1 and the limit of {longest} tokens, not {margin}")
    return ((longest - margin - lengths.double()) / margin).clamp(-1.0, 0.0)
