"""Loss and gradients are finite, or no step is taken."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.errors import TrainingDiverged

SKIPPED = "skipped_in_a_row"
"""The metric: how many steps, up to this one, were skipped. Not there where a step was taken."""


Phase = Literal["sft", "rft", "preferences", "reward_model"]


def check_loss(loss: float, config: OptimizerSection, phase: Phase, step: int) -> None:
    """
    Args:
        step: Counted from 0.

    Raises:
        TrainingDiverged: if the loss is not finite.
    """
    if not math.isfinite(loss):
        raise TrainingDiverged(
            f"{phase.upper()} step {step + 1}: the loss is {loss}; the weights have most likely grown "
            f"without bound: begin a new run with a lower {phase}.learning_rate than {config.learning_rate}, "
            f"or more {phase}.warmup_steps"
        )


def norm_metrics(
    norm: float,
    history: Sequence[Mapping[str, float | str]],
    config: OptimizerSection,
    phase: Phase,
    step: int,
) -> dict[str, float]:
    """The gradient's norm, or how many steps were skipped because it was not finite.

    Args:
        history: The metrics of the steps before.
        step: Counted from 0.

    Raises:
        TrainingDiverged: if they are more than `max_skipped`.
    """
    if math.isfinite(norm):
        return {"grad_norm": norm}
    skipped = 1 + skipped_before(history)
    if skipped > config.max_skipped:
        raise TrainingDiverged(
            f"{phase.upper()} step {step + 1}: the gradient's norm is {norm}, and {skipped} steps in a row "
            f"were skipped for that (more than {phase}.max_skipped = {config.max_skipped}): begin a new run "
            f"with a lower {phase}.learning_rate than {config.learning_rate}, or more {phase}.warmup_steps"
        )
    return {SKIPPED: float(skipped)}


def skipped_before(history: Sequence[Mapping[str, float | str]]) -> int:
    """How many steps were skipped up to the last one."""
    return int(history[-1].get(SKIPPED, 0)) if history else 0
