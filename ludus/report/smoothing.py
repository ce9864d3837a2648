"""A smoothed curve with a confidence band from one noisy value per step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW_SHARE = 0.3
"""Share of a run's steps that take part in the smoothed value at one step."""
FEWEST = 8
"""No window is smaller. Fewer steps are drawn as they are: a line and a band would claim too much."""
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
    """Local linear regression with tricube weights (W. S. Cleveland, JASA 74, 1979), and its 95% band.

    A line rather than a mean, so that the ends of the curve do not lag behind the data. A fitted value is a
    weighted sum `h · values`; its standard error is `noise · ‖h‖`, the noise estimated from the window's
    residuals.

    Args:
        steps: strictly increasing, of shape (points,).
        values: finite, of the same shape.
        limits: what the metric cannot leave, such as (0, 1); curve and band are clipped to it.
    """
    count = len(steps)
    if count < FEWEST:
        return exact(steps, values)
    at = steps[np.unique(np.linspace(0, count - 1, min(count, MOST_POSITIONS)).round().astype(int))]
    fitted, error = _fit(steps, values, at, window(count))
    low, high = fitted - 1.96 * error, fitted + 1.96 * error
    if limits is not None:
        fitted, low, high = (np.clip(x, *limits) for x in (fitted, low, high))
    return Curve(steps, values, at, fitted, low, high)


def exact(steps: Floats, values: Floats) -> Curve:
    """A metric drawn as it is: the line goes through every value."""
    none = np.full(len(steps), np.nan)
    return Curve(steps, values, steps, values, none, none)


def _fit(steps: Floats, values: Floats, at: Floats, size: int) -> tuple[Floats, Floats]:
    """At each position, the weighted line through the `size` nearest points, and its standard error.

    Suffixes: P positions, W points of a window.
    """
    first = np.searchsorted(steps, at) - size // 2
    first_P = np.clip(first, 0, len(steps) - size)
    window_PW = first_P[:, None] + np.arange(size)
    x_PW, y_PW = steps[window_PW] - at[:, None], values[window_PW]
    reach_P = np.abs(x_PW).max(axis=1) * 1.001
    weight_PW = (1 - (np.abs(x_PW) / reach_P[:, None]) ** 3) ** 3
    s0, s1, s2 = (np.sum(weight_PW * x_PW**k, axis=1, keepdims=True) for k in range(3))
    # Intercept and slope are linear in the values: level · y and slope · y.
    level_PW = weight_PW * (s2 - s1 * x_PW) / (s0 * s2 - s1**2)
    slope_PW = weight_PW * (s0 * x_PW - s1) / (s0 * s2 - s1**2)
    fitted_P = np.sum(level_PW * y_PW, axis=1)
    residual_PW = y_PW - fitted_P[:, None] - x_PW * np.sum(slope_PW * y_PW, axis=1, keepdims=True)
    # With H the matrix from values to fitted ones, E[sum w r²] = noise² · sum w ‖row of (I - H)‖².
    hat_PW = level_PW + x_PW * slope_PW
    row_PW = (
        np.sum(level_PW**2, axis=1, keepdims=True)
        + 2 * x_PW * np.sum(level_PW * slope_PW, axis=1, keepdims=True)
        + x_PW**2 * np.sum(slope_PW**2, axis=1, keepdims=True)
    )
    freedom_P = np.sum(weight_PW * (1 - 2 * hat_PW + row_PW), axis=1)
    noise_P = np.sqrt(np.sum(weight_PW * residual_PW**2, axis=1) / freedom_P)
    return fitted_P, noise_P * np.linalg.norm(level_PW, axis=1)
