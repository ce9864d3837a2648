"""A step that undoes what was learned."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from ludus.trainers.checks.trust import Reading, Readings

LAST = 2
"""How many of the last steps have their mean reward compared with the best earlier step's."""

LEAST_FALL = 1.0
"""In standard deviations of an episode's reward. With many groups, a fall can be significant and yet
small."""


def reward_fall(history: Sequence[Mapping[str, float | str]]) -> Readings:
    """How far the mean reward of the last two steps lies below that of the best step before them, in standard
    errors; 0 where it is less than one standard deviation of an episode's reward.

    The standard error of a step's mean is taken over its groups. Since a few groups may agree by chance, it
    is never taken to be smaller than the root mean square of the errors of all steps so far.

    Args:
        history: The metrics of the steps so far, the last one included: `reward`, `reward_error` and
            `reward_std`. A step without them (all groups faulted, or there was only one) is skipped.
    """
    points = [
        (float(line["reward"]), float(line["reward_error"]), float(line["reward_std"]))
        for line in history
        if "reward_error" in line
    ]
    if len(points) <= LAST:
        return {}
    best = max(range(len(points) - LAST), key=lambda index: points[index][0])
    now = fmean(reward for reward, _, _ in points[-LAST:])
    fall = points[best][0] - now
    usual = _root_mean_square([error for _, error, _ in points])
    errors = [max(error, usual) for _, error, _ in points[-LAST:]]
    error = math.hypot(
        _root_mean_square([error for _, error, _ in points[: best + 1]]), math.hypot(*errors) / LAST
    )
    spread = fmean(spread for _, _, spread in (points[best], *points[-LAST:]))
    counts = fall > LEAST_FALL * spread
    told = f"{now:.3g} after {points[best][0]:.3g} in the best step"
    return {"reward_fall": Reading(fall / max(error, 1e-12) if counts else 0.0, told)}


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(fmean(value**2 for value in values))
