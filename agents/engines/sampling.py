"""Drawing tokens, each request from its own counter-based stream, with their log-probabilities."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from ludus.agents.engines.base import Likeliest, Sampling
from ludus.agents.kept import Ids


def uniforms(seeds: Sequence[int], counters: Sequence[int]) -> np.ndarray:
    """One number in [0, 1) per (seed, counter), float64 with 48 random bits.

    Counter-based: the number depends on nothing else, so a request draws the same numbers whatever else is in
    the batch. The mixer is SplitMix64's (G. L. Steele et al., "Fast splittable pseudorandom number
    generators", 2014).
    """
    seeds_N = np.array([seed & 0xFFFFFFFFFFFFFFFF for seed in seeds], dtype=np.uint64)
    counters_N = np.array(counters, dtype=np.uint64)
    return (_mix(_mix(seeds_N) + counters_N * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(16)) * 2.0**-48


def _mix(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def distribution(logits_NV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Log-probabilities [N, V], float32, of the distribution that `sampling` draws from: temperature first,
    then top-k, top-p and min-p, renormalised over the tokens they keep (-inf elsewhere). At temperature 0:
    those of the model's own distribution."""
    logits_NV = logits_NV.float()
    logprobs_NV = torch.log_softmax(logits_NV / (sampling.temperature or 1.0), dim=-1)
    if _cuts(sampling, logits_NV.shape[-1]):
        support_NV = _support(logprobs_NV, sampling)
        logprobs_NV = torch.log_softmax(logprobs_NV.masked_fill(~support_NV, -torch.inf), dim=-1)
    return logprobs_NV


def _cuts(sampling: Sampling, vocabulary: int) -> bool:
    """Whether an id may be left out."""
    cuts = 0 < sampling.top_k < vocabulary or sampling.top_p < 1 or sampling.min_p > 0
    return sampling.temperature > 0 and cuts


def _support(logprobs_NV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """True where a token may be drawn, as the likeliest always may. Among equals, the lower id comes
    first."""
    sorted_NV, order_NV = torch.sort(logprobs_NV, dim=-1, descending=True, stable=True)
    keep_NV = torch.ones_like(sorted_NV, dtype=torch.bool)
    if 0 < sampling.top_k < sorted_NV.shape[-1]:
        keep_NV[:, sampling.top_k :] = False
    if sampling.top_p < 1:
        probs_NV = torch.softmax(sorted_NV.masked_fill(~keep_NV, -torch.inf), dim=-1)
        keep_NV &= probs_NV.cumsum(dim=-1) - probs_NV < sampling.top_p
    if sampling.min_p > 0:
        keep_NV &= sorted_NV >= sorted_NV[:, :1] + np.log(sampling.min_p)
    keep_NV[:, 0] = True
    return torch.zeros_like(keep_NV).scatter(1, order_NV, keep_NV)


class Drawn(NamedTuple):
    """One token of each of N rows."""

    ids_N: torch.Tensor
    """int64."""
    logprobs_N: torch.Tensor
    """float32, under `distribution`."""
    kept: Sequence[Ids]
    """The ids that each was drawn among; empty where that was all of them."""
    likeliest: Sequence[Likeliest]
    """As many as `Sampling.likeliest` says, of each row; empty where that is 0."""


def draw(logits_NV: torch.Tensor, sampling: Sampling, uniforms_N: np.ndarray) -> Drawn:
    """Draws one token per row by inverting the cumulative distribution in the order of ids; the likeliest at
    temperature 0."""
    logprobs_NV = distribution(logits_NV, sampling)
    if sampling.temperature == 0:
        ids_N = logprobs_NV.argmax(dim=-1)
    else:
        # float64, so that the sum over a large vocabulary does not swallow the unlikely tokens
        cumulative_NV = logprobs_NV.double().exp().cumsum(dim=-1)
        targets_N1 = torch.from_numpy(uniforms_N).to(cumulative_NV)[:, None] * cumulative_NV[:, -1:]
        # right=True: the first id whose cumulative value exceeds the target, which therefore has a positive
        # share
        ids_N = torch.searchsorted(cumulative_NV, targets_N1, right=True)[:, 0]
    kept = _kept(logprobs_NV) if _cuts(sampling, logprobs_NV.shape[-1]) else ()
    likeliest = _likeliest(logprobs_NV, sampling.likeliest) if sampling.likeliest else ()
    return Drawn(ids_N, logprobs_NV.gather(1, ids_N[:, None])[:, 0], kept, likeliest)


def _likeliest(logprobs_NV: torch.Tensor, most: int) -> Sequence[Likeliest]:
    top = logprobs_NV.topk(min(most, logprobs_NV.shape[-1]), dim=-1)
    rows = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [
        tuple((id, value) for id, value in zip(ids, values, strict=True) if value > -torch.inf)
        for ids, values in rows
    ]


def _kept(logprobs_NV: torch.Tensor) -> Sequence[Ids]:
    """The ids of each row that may be drawn."""
    may_NV = logprobs_NV > -torch.inf
    ids = may_NV.nonzero()[:, 1].to(torch.int32).cpu().numpy()
    return np.split(ids, may_NV.sum(dim=1).cumsum(0)[:-1].tolist())
