"""Recomputed against logged, and one algorithm against another on the same tokens."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ludus.trainers.replay.recompute import Recomputed
from ludus.trainers.replay.stored import StoredTokens

_UNIT_ROUNDOFF = 2.0**-24
"""Of float32, in which training computes."""
_ROUNDINGS = 16
"""At most so many operations lead from stored numbers to a token's term: a ratio and a divergence."""
_SHARES = ("clip_low", "clip_high", "clip_dual", "correction_bounded")


@dataclass(frozen=True)
class Figure:
    """A metric, or the advantages or weights of all tokens."""

    name: str
    logged: float
    recomputed: float
    difference: float
    """Of single tokens, the largest."""
    allowed: float

    @property
    def is_equal(self) -> bool:
        return self.difference <= self.allowed  # never of nan


def rounding(terms: int) -> float:
    """How far rounding takes a float32 sum, relative to the sum of its terms' absolute values.

    λ √n u with λ = 8, for n operations on top of each other, in whatever order a sum is taken: roundings as
    independent as they usually are stay below it but with a probability of 2 exp(-λ²/2) < 3e-14 each (Higham
    and Mary, A New Approach to Probabilistic Rounding Error Analysis, SISC 41, 2019, theorem 2.4).
    """
    return 8 * math.sqrt(terms + _ROUNDINGS) * _UNIT_ROUNDOFF


def against_log(logged: dict[str, float], found: Recomputed, stored: StoredTokens) -> list[Figure]:
    """What the run logged and recorded of a step, beside what is computed again.

    Rounding is relative to the terms of a sum, not to the sum. A share of tokens may be off by one, whose
    ratio is so near a bound that rounding decides.
    """
    tokens = len(stored.engine_F)
    trained = max(1, int((~found.weights_F.isnan()).sum()))
    figures = []
    for name, value in found.metrics.items():
        size = max(abs(value), abs(logged.get(name, 0.0)), found.sizes.get(name, 0.0))
        allowed = 1 / trained if name in _SHARES else rounding(tokens) * size
        if name == "ratio_max_deviation":
            allowed = rounding(1) * (1 + size)
        before = logged.get(name, math.nan)
        figures.append(Figure(name, before, value, abs(value - before), allowed))
    for name, again_F in (("advantage", found.advantages_F), ("weight", found.weights_F)):
        before_F = stored.named.get(name, torch.full_like(again_F, torch.nan))
        figures.append(_of_tokens(name, before_F, again_F))
    return figures


def _of_tokens(name: str, before_F: Tensor, again_F: Tensor) -> Figure:
    """The mean absolute values, and the largest difference of a token; infinite where one of the two has a
    number and the other has none. Whatever is added up for them is added up in float64."""
    had, has = ~before_F.isnan(), ~again_F.isnan()
    both = had & has
    differences = (before_F[both] - again_F[both]).abs()
    difference = math.inf if bool((had != has).any()) else _most(differences)
    allowed = rounding(1) * max(_most(before_F[both].abs()), _most(again_F[both].abs()))
    return Figure(f"|{name}|", _mean(before_F[had].abs()), _mean(again_F[has].abs()), difference, allowed)


@dataclass(frozen=True)
class Beside:
    """What an algorithm makes of a step's tokens."""

    loss: float
    """The mean over the updates; not-a-number if there was none."""
    advantage: float
    """The mean absolute advantage of a sampled token."""
    clip_low: float
    clip_high: float
    clip_dual: float
    with_gradient: float
    """The share of the sampled tokens whose log-probability has a gradient."""
    correlation: float
    """Of the gradients of all sampled tokens' log-probabilities with those of the run's own loss."""


def beside(found: Recomputed, own: Recomputed) -> Beside:
    tokens = max(1, len(found.gradient_F))
    return Beside(
        found.metrics.get("loss", math.nan),
        float(found.advantages_F.nan_to_num().abs().double().sum()) / tokens,
        found.metrics.get("clip_low", math.nan),
        found.metrics.get("clip_high", math.nan),
        found.metrics.get("clip_dual", math.nan),
        float((found.gradient_F != 0).double().sum()) / tokens,
        correlation(found.gradient_F, own.gradient_F),
    )


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's; not-a-number if one of them is constant."""
    a, b = one.double() - one.double().mean(), other.double() - other.double().mean()
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size else math.nan


def _most(values: Tensor) -> float:
    return float(values.max()) if len(values) else 0.0


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else 0.0
