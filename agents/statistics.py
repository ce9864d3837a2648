"""Estimates with intervals, and paired comparisons, from fixed seeds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 10_000
"""Resamples of a bootstrap, and random sign changes of a test."""
_CHUNK = 2_000_000
"""Most numbers that are drawn at once."""
_ROUNDING = 1e-12
"""What is smaller than this share of the largest value is what rounding leaves of zero."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the ends of its interval, 95% unless said; nan if there was nothing to estimate
    from."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an estimate becomes if everything without a score is counted as a failure, and as a success."""

    low: float
    high: float


NOTHING = Interval(math.nan, math.nan, math.nan)


def share_bounds(successes: int, unscored: int, trials: int) -> Bounds:
    """The bounds of a share of `trials`, of which `unscored` have no score."""
    if not trials:
        return Bounds(math.nan, math.nan)
    return Bounds(successes / trials, (successes + unscored) / trials)


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (E. B. Wilson, JASA 22, 1927), which stays within [0, 1] and
    does not collapse at 0 or at 1."""
    return wilson_share(successes / trials if trials else math.nan, trials, level)


def wilson_share(share: float, trials: float, level: float = 0.95) -> Interval:
    """`wilson` for a share of `trials`, which need not be an integer."""
    if trials == 0:
        return NOTHING
    z = NormalDist().inv_cdf(0.5 + level / 2)
    spread = z**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def clustered_share(shares: Sequence[float], trials: int) -> Interval:
    """The mean of the tasks' shares (each from 0 to 1), with Wilson's interval at the effective sample size
    (E. L. Korn and B. I. Graubard, Survey Methodology 24, 1998).

    The variance of the mean is taken between tasks; the effective size is the number of independent trials
    with the same variance, at most `trials`. If all tasks came out alike, there is no variance to estimate it
    from: each task counts once.
    """
    if not shares:
        return NOTHING
    share, tasks = float(np.mean(shares)), len(shares)
    share = min(max(share, 0.0), 1.0)
    variance = float(np.var(shares)) / tasks
    # What rounding leaves of no variance would make an effective size of zero.
    size = share * (1 - share) / variance if variance > _ROUNDING**2 else float(tasks)
    return wilson_share(share, min(size, float(trials)))


def bootstrap_mean(values: Sequence[float], level: float = 0.95) -> Interval:
    """Percentile bootstrap of the mean (B. Efron, Annals of Statistics 7, 1979), 10,000 resamples from a
    fixed seed. Exactly zero where all values are zero, or would be but for rounding."""
    if not values:
        return NOTHING
    values_N = np.asarray(values, dtype=np.float64)
    smallest, largest = float(values_N.min()), float(values_N.max())
    negligible = _ROUNDING * max(abs(smallest), abs(largest), 1.0)
    if largest - smallest <= negligible:  # nothing varies
        value = float(values_N.mean()) if smallest != largest else smallest
        return Interval(*[_without_rounding(value, negligible)] * 3)
    means_R = np.concatenate([values_N[drawn_RN].mean(axis=1) for drawn_RN in _draws(len(values_N))])
    tail = (1 - level) / 2
    low, high = np.quantile(means_R, [tail, 1 - tail])
    return Interval(
        *(_without_rounding(float(number), negligible) for number in (values_N.mean(), low, high))
    )


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p-value that paired differences are symmetric around zero: how often a random change of
    their signs gives a sum at least as far from zero (R. A. Fisher, 1935; 10,000 changes from a fixed seed,
    counted with the one that was observed). 1 where all pairs tie."""
    values_N = np.asarray(differences, dtype=np.float64)
    values_N = values_N[np.abs(values_N) > _ROUNDING]
    if not len(values_N):
        return 1.0
    rng = np.random.default_rng(0)
    observed = abs(float(values_N.sum()))
    as_far = 0
    for count in _chunks(len(values_N)):
        signs_RN = rng.integers(0, 2, size=(count, len(values_N)), dtype=np.int8) * 2 - 1
        as_far += int((np.abs(signs_RN @ values_N) >= observed * (1 - 1e-9)).sum())
    return (1 + as_far) / (1 + RESAMPLES)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being many (S. Holm, Scandinavian Journal of Statistics 6, 1979): those at most
    0.05 hold together with a chance of error of at most 0.05."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for position, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def holm_levels(p_values: Sequence[float]) -> list[float]:
    """The level of each comparison's interval that goes with `holm`: 1 − 0.05 / (m − rank + 1)."""
    levels = [0.0] * len(p_values)
    for position, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        levels[index] = 1 - 0.05 / (len(p_values) - position)
    return levels


def mean(values: Sequence[float]) -> float:
    """nan for none."""
    return float(np.mean(values)) if values else math.nan


def plain(value: object) -> object:
    """Plain values for JSON: an interval or bounds as a table, a tuple as a list, nan as None, keys as
    text."""
    if isinstance(value, Interval | Bounds):
        return {name: plain(getattr(value, name)) for name in value.__slots__}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _without_rounding(value: float, negligible: float) -> float:
    return 0.0 if abs(value) <= negligible else value


def _draws(size: int) -> Iterator[np.ndarray]:
    """Indices of resamples, some rows at a time."""
    rng = np.random.default_rng(0)
    for count in _chunks(size):
        yield rng.integers(size, size=(count, size), dtype=np.int32)


def _chunks(size: int) -> Iterator[int]:
    """How many resamples of that size to draw at once, until all are drawn."""
    rows, left = max(1, _CHUNK // size), RESAMPLES
    while left > 0:
        yield min(rows, left)
        left -= rows
