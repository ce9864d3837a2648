"""What a reward model is worth on held-out data: how often it is right, how sure it is, and whether it goes
by length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BINS = 10
_CLEAR = 0.1
"""A smaller difference between accuracies is not spoken of."""
_SURE = 2.576
"""Standard errors; by chance it is passed once in a hundred times."""

BUCKETS = ((0.0, 0.5), (0.5, 0.9), (0.9, 1.1), (1.1, 2.0), (2.0, math.inf))
"""Of the chosen one's length over the rejected one's: from, up to."""


@dataclass(frozen=True)
class Bucket:
    """Pairs whose chosen one is about so many times as long as the rejected one."""

    ratio: str
    """From, to."""
    pairs: int
    accuracy: float


@dataclass(frozen=True)
class PairReport:
    """Of an outcome model, on pairs."""

    pairs: int
    accuracy: float
    """The share of pairs whose chosen one has the higher reward; equal rewards count half."""
    log_loss: float
    """The negative log-likelihood of the preferences, in nats; ln 2 knows nothing."""
    calibration_error: float
    """Between how sure it is, σ(|r₊ − r₋|), and how often it is right then: the mean over ten bins, by their
    pairs."""
    buckets: tuple[Bucket, ...]
    """Those that have pairs."""
    length: str
    """Whether it rewards length, in words."""


@dataclass(frozen=True)
class StepReport:
    """Of a process model, on labelled steps."""

    steps: int
    brier: float
    """The mean squared difference between value and label."""
    spread: float
    """The same for the labels' mean in the place of the values: what a model has that knows nothing."""
    calibration_error: float
    """Between value and label: the mean over ten bins of values, by their steps."""


def report_pairs(gaps: Sequence[float], lengths: Sequence[tuple[int, int]]) -> PairReport:
    """
    Args:
        gaps: The chosen one's reward less the rejected one's, for each pair.
        lengths: Of chosen and rejected, in the tokens of their replies.
    """
    gaps_B = np.array(gaps, dtype=np.float64)
    right_B = np.where(gaps_B == 0, 0.5, gaps_B > 0)
    ratios_B = np.array([chosen / rejected for chosen, rejected in lengths])
    buckets = []
    for least, below in BUCKETS:
        inside_B = (least <= ratios_B) & (ratios_B < below)
        if inside_B.any():
            ratio = f"{least:g} to {below:g}" if math.isfinite(below) else f"{least:g} and more"
            buckets.append(Bucket(ratio, int(inside_B.sum()), float(right_B[inside_B].mean())))
    return PairReport(
        pairs=len(gaps_B),
        accuracy=float(right_B.mean()),
        log_loss=float(np.logaddexp(0.0, -gaps_B).mean()),
        calibration_error=_calibration_error(1 / (1 + np.exp(-np.abs(gaps_B))), right_B),
        buckets=tuple(buckets),
        length=_about_length(right_B, ratios_B),
    )


def report_steps(values: Sequence[float], labels: Sequence[float]) -> StepReport:
    """
    Args:
        values: What the model gave to each step.
        labels: What the steps' labels are.
    """
    values_S, labels_S = np.array(values, dtype=np.float64), np.array(labels, dtype=np.float64)
    return StepReport(
        steps=len(values_S),
        brier=float(np.square(values_S - labels_S).mean()),
        spread=float(labels_S.var()),
        calibration_error=_calibration_error(values_S, labels_S),
    )


def _calibration_error(stated_N: Floats, seen_N: Floats) -> float:
    """The expected calibration error (arXiv:1706.04599, section 2)."""
    bins_N = np.minimum((stated_N * BINS).astype(int), BINS - 1)
    parts = [bins_N == number for number in range(BINS)]
    return float(sum(abs((stated_N[part] - seen_N[part]).sum()) for part in parts) / len(stated_N))


def _about_length(right_B: Floats, ratios_B: Floats) -> str:
    longer_B, shorter_B = right_B[ratios_B > 1], right_B[ratios_B < 1]
    if min(len(longer_B), len(shorter_B)) < 2:
        counts = {"longer": len(longer_B), "shorter": len(shorter_B), "equally long": len(right_B)}
        counts["equally long"] -= len(longer_B) + len(shorter_B)
        most = max(counts, key=lambda side: counts[side])
        return f"whether it rewards length cannot be told: nearly every chosen one is {most}"
    gap = longer_B.mean() - shorter_B.mean()
    told = (
        f"right in {longer_B.mean():.0%} of the pairs whose chosen reply is the longer one, in "
        f"{shorter_B.mean():.0%} where it is the shorter one"
    )
    both = np.concatenate([longer_B, shorter_B]).mean()
    error = math.sqrt(both * (1 - both) * (1 / len(longer_B) + 1 / len(shorter_B)))
    if abs(gap) < _CLEAR or abs(gap) <= _SURE * error:
        return f"no sign that it rewards length: {told}"
    return f"it rewards {'length' if gap > 0 else 'shortness'}: {told}"
