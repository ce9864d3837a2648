"""Coefficients that change during training, as pure functions of the step and of what was measured before.

A resumed run therefore continues with the same bits, without any state of its own.
"""

import math
from collections.abc import Mapping, Sequence

from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.kl import KlKeys
from ludus.trainers.config.run import RunConfig
from ludus.trainers.config.values import Schedule

MAX_KL_ERROR = 0.2
"""Relative errors of the divergence count as this at most: arXiv:1909.08593, section 2.2."""


def decay(schedule: Schedule, fraction: float) -> float:
    """What is left of a value after a fraction, from 0 to 1, of the way."""
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - fraction
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * fraction))


def annealed(value: float, schedule: Schedule, step: int, end: int) -> float:
    """The value at a step, counted from 0; a falling schedule reaches 0 at step `end` and stays there."""
    return value * decay(schedule, 1.0 if step >= end else step / end)


def adapted(config: KlKeys, history: Sequence[Mapping[str, float | str]]) -> float:
    """The coefficient after the steps so far, by Ziegler et al., arXiv:1909.08593, section 2.2, with
    1 / `kl_horizon` in the place of their K_β:

        β ← β (1 + e / horizon)    e = clip(kl / target - 1, -0.2, 0.2)

    Args:
        config: The first coefficient, target and horizon.
        history: The metrics of the steps so far; one without `kl` changes nothing.
    """
    coefficient = config.kl_coefficient
    for line in history:
        if "kl" in line:
            error = float(line["kl"]) / config.kl_target - 1.0
            coefficient *= 1.0 + max(-MAX_KL_ERROR, min(MAX_KL_ERROR, error)) / config.kl_horizon
    return coefficient


def kl_coefficient(config: GrpoSection, step: int, history: Sequence[Mapping[str, float | str]]) -> float:
    """The coefficient of the divergence at a step, counted from 0, before which `history` was measured."""
    if config.kl_schedule == "adaptive":
        return adapted(config, history)
    return annealed(config.kl_coefficient, config.kl_schedule, step, config.kl_steps or config.steps)


def entropy_coefficient(config: GrpoSection, step: int) -> float:
    """The coefficient of the entropy bonus at a step, counted from 0."""
    end = config.entropy_steps or config.steps
    return annealed(config.entropy_coefficient, config.entropy_schedule, step, end)


def at_step(config: RunConfig, step: int, history: Sequence[Mapping[str, float | str]]) -> RunConfig:
    """The configuration as it holds at a step, counted from 0: coefficients have their values there."""
    grpo = config.grpo
    values = {
        "kl_coefficient": kl_coefficient(grpo, step, history),
        "entropy_coefficient": entropy_coefficient(grpo, step),
    }
    return config.model_copy(update={"grpo": grpo.model_copy(update=values)})


def coefficient_metrics(config: GrpoSection, now: GrpoSection) -> dict[str, float]:
    """The coefficients of a step that change during training."""
    metrics = {}
    if config.kl_schedule != "constant":
        metrics["kl_coefficient"] = now.kl_coefficient
    if config.entropy_schedule != "constant":
        metrics["entropy_coefficient"] = now.entropy_coefficient
    return metrics
