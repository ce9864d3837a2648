"""A smoothed curve with a confidence band from one noisy value per step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW_SHARE = 0.3
"""Share of a run's steps that take part in the smoothed value at one step."""
FEWEST = 8
"""No window is smaller, and fewer steps are drawn as they are: a smoothed line and a band would claim too much."""
MOST_POSITIONS = 200
"""A curve is evaluated at no more positions than the eye can tell apart."""


@dataclass(frozen=True)
class Curve:
    """One metric over the steps."""

    steps: Floats
    """(points,)"""
    raw: Floats
    """(points,)"""
    at: Floats
    """(positions,): the steps at which the curve was evaluated."""
    smooth: Floats
    """(positions,)"""
    low: Floats
    """(positions,): lower end of the 95% band; NaN where there is none."""
    high: Floats
    """(positions,)"""


def window(points: int) -> int:
    """How many of `points` steps take part in one smoothed value."""
    return min(points, max(FEWEST, round(WINDOW_SHARE * points)))


def smooth(steps: Floats, values: Floats, limits: tuple[float, float] | None = None) -> Curve:
    """Local linear regression with tricube weights (Cleveland, 1979), and the 95% band of the fitted value.

    A line rather than a mean, so that the ends of the curve do not lag behind the data. A fitted value is a weighted
    sum `h · values`; its standard error is `noise · ‖h‖`, with the noise estimated from the window's residuals.

    Args:
        steps: increasing, of shape (points,).
        values: finite, of the same shape.
        limits: what the metric cannot leave, such as (0, 1); curve and band are clipped to it.
    """
    count = len(steps)
    if count < FEWEST:
        return exact(steps, values)
    at = steps[np.unique(np.linspace(0, count - 1, min(count, MOST_POSITIONS)).round().astype(int))]
    fits = [_fit(steps - position, values, window(count)) for position in at]
    fitted, error = np.array([fit[0] for fit in fits]), np.array([fit[1] for fit in fits])
    low, high = fitted - 1.96 * error, fitted + 1.96 * error
    if limits is not None:
        fitted, low, high = (np.clip(x, *limits) for x in (fitted, low, high))
    return Curve(steps, values, at, fitted, low, high)


def exact(steps: Floats, values: Floats) -> Curve:
    """A metric drawn as it is: the line goes through every value."""
    none = np.full(len(steps), np.nan)
    return Curve(steps, values, steps, values, none, none)


def _fit(x: Floats, y: Floats, size: int) -> tuple[float, float]:
    """The weighted line's value at x = 0 over the `size` nearest points, and its standard error."""
    distance = np.abs(x)
    width = np.partition(distance, size - 1)[size - 1] * 1.001
    near = distance < width
    x, y = x[near], y[near]
    weights = (1 - (np.abs(x) / width) ** 3) ** 3
    design = np.stack([np.ones_like(x), x], axis=1)
    hat = np.linalg.pinv(design.T @ (weights[:, None] * design)) @ (design * weights[:, None]).T
    residuals = y - design @ (hat @ y)
    # E[sum w r²] = noise² · sum w ‖row of (I - design @ hat)‖², so dividing by that sum is unbiased.
    row_norms = (
        1 - 2 * np.einsum("ik,ki->i", design, hat) + np.einsum("ik,kl,il->i", design, hat @ hat.T, design)
    )
    freedom = float(weights @ row_norms)
    variance = float(weights @ residuals**2) / freedom if freedom > 1e-9 else np.nan
    return float(hat[0] @ y), float(np.sqrt(variance) * np.linalg.norm(hat[0]))
