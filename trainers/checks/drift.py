"""Readings of several steps: a course that a single step does not show."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance

from ludus.trainers.checks.trust import Reading, Readings
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.scorers import ScorerSection

Line = Mapping[str, float | str]
WINDOW = 8
"""Steps whose mean is compared."""
LEAST_GROUPS = 128
"""How many groups tell that nothing is learned from any."""
LEAST_PLANTS = 8
"""How many planted answers tell that a scorer is taken in by bad ones."""


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
    if len(flat) == steps and config.credit != "teacher":  # who compares no episodes
        readings["flat_groups"] = Reading(fmean(flat))
    lengths = _values(history, "completion_tokens")
    if len(lengths) >= 2 * WINDOW:
        first, last = fmean(lengths[:WINDOW]), fmean(lengths[-WINDOW:])
        change = max(first, last) / max(1.0, min(first, last))
        readings["length_drift"] = Reading(change, f"from {first:.1f} to {last:.1f} tokens")
    form = [name for name in history[-1] if name.startswith("form/")]
    if (worst := _rise_over_fall(history, form, "success")) is not None:
        readings["form_over_success"] = worst
    return readings


def scorer_readings(history: Sequence[Line], scorers: Sequence[ScorerSection]) -> Readings:
    """
    Args:
        history: The metrics of the steps so far, the last one included.
    """
    found: dict[str, list[Reading]] = {}
    for scorer in scorers:
        misjudged = _values(history[-WINDOW:], f"scorers/{scorer.name}/misjudged")
        if len(misjudged) * scorer.planted >= LEAST_PLANTS:
            told = f"of {scorer.name}, over {len(misjudged)} steps"
            found.setdefault("planted_answers", []).append(Reading(fmean(misjudged), told))
        if scorer.weight and scorer.beside:
            names = (scorer.beside, f"terms/{scorer.beside}", f"form/{scorer.beside}")
            beside = next((name for name in names if name in history[-1]), "")
            reading = _rise_over_fall(history, [f"terms/{scorer.name}"], beside)
            if reading is not None:
                told = f"{scorer.name} rose while {scorer.beside} fell" if reading.value else ""
                found.setdefault("score_over_rule", []).append(Reading(reading.value, told))
    return {name: max(readings, key=lambda reading: reading.value) for name, readings in found.items()}


def _values(history: Sequence[Line], name: str) -> list[float]:
    return [float(line[name]) for line in history if name in line]


def _rise_over_fall(history: Sequence[Line], rising: Sequence[str], falling: str) -> Reading | None:
    """By how many standard errors one of `rising` rose and `falling` fell, whichever is less, over the last
    steps against those in which `falling` was best; of the one for which it is the most. None: too few
    steps."""
    success = _values(history, falling)
    if len(success) < 2 * WINDOW:
        return None
    ends = range(WINDOW, len(success) - WINDOW + 1)
    best = max(ends, key=lambda end: fmean(success[end - WINDOW : end]))
    fall = _standard_errors(success[-WINDOW:], success[best - WINDOW : best])
    worst = Reading(0.0)
    for name in rising:
        if len(values := _values(history, name)) == len(success):
            rise = _standard_errors(values[best - WINDOW : best], values[-WINDOW:])
            if min(rise, fall) > worst.value:
                worst = Reading(min(rise, fall), name)
    return worst


def _standard_errors(lower: Sequence[float], higher: Sequence[float]) -> float:
    """By how many of their standard errors the mean of the second exceeds that of the first (Welch)."""
    error = math.sqrt((variance(lower) + variance(higher)) / WINDOW)
    difference = fmean(higher) - fmean(lower)
    return difference / max(error, 1e-3)
