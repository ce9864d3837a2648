"""A smoothed curve with a confidence band from one noisy value per step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOWS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Candidate window sizes, as shares of a run's steps; cross-validation picks one."""
FEWEST = 8
"""The smallest window. A run with fewer steps is not smoothed: a line and a band would claim too much."""
MOST_POSITIONS = 200
"""A curve is evaluated at no more positions than the eye can distinguish."""


@dataclass(frozen=True)
class Curve:
    """A metric over the steps."""

    steps: Floats
    """(points,)"""
    raw: Floats
    """(points,)"""
    at: Floats
    """(positions,): the steps at which the curve was evaluated."""
    smooth: Floats
    """(positions,)"""
    low: Floats
    """(positions,): lower end of the 95% band; NaN where it is unknown."""
    high: Floats
    """(positions,)"""


def smooth(steps: Floats, values: Floats, limits: tuple[float, float] | None = None) -> Curve:
    """Local linear regression with tricube weights (W. S. Cleveland, JASA 74, 1979), and its 95% band.

    A local line rather than a mean, so that the ends of the curve do not lag behind the data. A fitted value
    is a weighted sum `h · values`; its standard error is `noise · ‖h‖`, the noise estimated from the window's
    residuals. The window is the one of `WINDOWS` with the least error in leave-one-out cross-validation.

    Args:
        steps: strictly increasing, of shape (points,).
        values: finite, of the same shape.
        limits: the range of the metric, such as (0, 1); curve and band are clipped to it.
    """
    count = len(steps)
    if count < FEWEST:
        return exact(steps, values)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_POSITIONS)).round().astype(int))
    sizes = sorted({min(count, max(FEWEST, round(share * count))) for share in WINDOWS})
    fits = [_fit(steps, values, chosen, size) for size in sizes]
    best = min(fits, key=lambda fit: fit.left_out)
    fitted, low, high = best.fitted, best.fitted - 1.96 * best.error, best.fitted + 1.96 * best.error
    if limits is not None:
        fitted, low, high = (np.clip(x, *limits) for x in (fitted, low, high))
    return Curve(steps, values, steps[chosen], fitted, low, high)


def exact(steps: Floats, values: Floats) -> Curve:
    """An unsmoothed metric: the line goes through every value."""
    none = np.full(len(steps), np.nan)
    return Curve(steps, values, steps, values, none, none)


@dataclass(frozen=True)
class _Fit:
    fitted: Floats
    """(positions,)"""
    error: Floats
    """(positions,): standard error of the fitted values."""
    left_out: float
    """Mean squared error at the positions, each predicted from the other points of its window."""


def _fit(steps: Floats, values: Floats, chosen: NDArray[np.int_], size: int) -> _Fit:
    """The weighted line through the `size` nearest points, at each chosen step. Suffixes: P positions, W
    points in a window.
    """
    first_P = np.clip(chosen - size // 2, 0, len(steps) - size)
    window_PW = first_P[:, None] + np.arange(size)
    x_PW, y_PW = steps[window_PW] - steps[chosen][:, None], values[window_PW]
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
    own_P = level_PW[np.arange(len(chosen)), chosen - first_P]
    left_out = float(np.mean(((values[chosen] - fitted_P) / (1 - own_P)) ** 2))
    return _Fit(fitted_P, noise_P * np.linalg.norm(level_PW, axis=1), left_out)
