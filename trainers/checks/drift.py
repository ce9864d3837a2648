"""Readings of several steps: a course that a single step does not show."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance

from ludus.trainers.checks.trust import Reading, Readings
from ludus.trainers.config.grpo import GrpoSection

Line = Mapping[str, float | str]
WINDOW = 8
"""Steps whose mean is compared."""
LEAST_GROUPS = 128
"""How many groups tell that nothing is learned from any."""


def drift_readings(history: Sequence[Line], config: GrpoSection) -> Readings:
    """
    Args:
        history: The metrics of the steps so far, the last one included.
    """
    readings: dict[str, Reading] = {}
    cut = _values(history[-WINDOW:], "cut")
    if len(cut) == WINDOW:
        readings["truncation"] = Reading(fmean(cut))
    steps = -(-LEAST_GROUPS // config.groups)
    flat = _values(history[-steps:], "flat_unsolved")
    if len(flat) == steps:
        readings["flat_groups"] = Reading(fmean(flat))
    lengths = _values(history, "completion_tokens")
    if len(lengths) >= 2 * WINDOW:
        first, last = fmean(lengths[:WINDOW]), fmean(lengths[-WINDOW:])
        change = max(first, last) / max(1.0, min(first, last))
        readings["length_drift"] = Reading(change, f"from {first:.1f} to {last:.1f} tokens")
    return {**readings, **_form_over_success(history)}


def _values(history: Sequence[Line], name: str) -> list[float]:
    return [float(line[name]) for line in history if name in line]


def _form_over_success(history: Sequence[Line]) -> Readings:
    """Of the form term for which it is the most."""
    success = _values(history, "success")
    if len(success) < 2 * WINDOW:
        return {}
    ends = range(WINDOW, len(success) - WINDOW + 1)
    best = max(ends, key=lambda end: fmean(success[end - WINDOW : end]))
    fall = _standard_errors(success[-WINDOW:], success[best - WINDOW : best])
    worst = Reading(0.0)
    for name in history[-1]:
        if name.startswith("form/") and len(form := _values(history, name)) == len(success):
            rise = _standard_errors(form[best - WINDOW : best], form[-WINDOW:])
            if min(rise, fall) > worst.value:
                worst = Reading(min(rise, fall), name)
    return {"form_over_success": worst}


def _standard_errors(lower: Sequence[float], higher: Sequence[float]) -> float:
    """By how many of their standard errors the mean of the second exceeds that of the first (Welch)."""
    error = math.sqrt((variance(lower) + variance(higher)) / WINDOW)
    difference = fmean(higher) - fmean(lower)
    return difference / max(error, 1e-3)
