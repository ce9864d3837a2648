"""What a token counts for, where the engine that sampled it computes other probabilities than the trainer.

Engine and trainer have the same weights, but other kernels and often another precision, so what was sampled
is from a distribution μ that is not quite the trainer's π. With c_t = π(token) / μ(token), multiplying by

    c_t             corrects each token's distribution, at the states that the engine visited
    Π c, of a row   corrects the distribution of rows, without bias; its variance grows with their length
    (Π c)^(1/T)     corrects neither, and moves as little as a token's: a measure of how far a row is off

A bound keeps the variance finite, for some bias: what is above it counts as the bound (`truncate`; IMPALA,
arXiv:1802.01561, whose V-trace truncates the same ratio) or not at all (`mask`; IcePop, in arXiv:2510.18855).
"""

from typing import Literal

import torch
from torch import Tensor

from ludus.kernels.grpo_loss.kl import LOG_RATIO_LIMIT, log_ratio

Level = Literal["token", "sequence", "geometric"]
Mode = Literal["truncate", "mask"]


def engine_ratio(level: Level, logprobs_S: Tensor, engine_logprobs_S: Tensor, counts_R: Tensor) -> Tensor:
    """The trainer's probability of each token over the engine's, or its row's product or geometric mean, [S].

    Args:
        level: Whose ratio.
        logprobs_S: Of the rows' tokens, row by row.
        engine_logprobs_S: The same tokens' where they were sampled.
        counts_R: Tokens of each row.
    """
    log_ratio_S = log_ratio(logprobs_S, engine_logprobs_S)
    if level != "token":
        row_S = torch.arange(len(counts_R)).repeat_interleave(counts_R)
        sums_R = torch.zeros(len(counts_R), dtype=torch.float64).index_add(0, row_S, log_ratio_S.double())
        if level == "geometric":
            sums_R = sums_R / counts_R.clamp(min=1)
        log_ratio_S = sums_R.to(log_ratio_S.dtype)[row_S]
    return log_ratio_S.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def bounded(mode: Mode, bound: float, ratios_S: Tensor) -> Tensor:
    """The factor of each token, [S]: its ratio, unless that is above the bound."""
    if mode == "truncate":
        return ratios_S.clamp(max=bound)
    return ratios_S * (ratios_S <= bound)
