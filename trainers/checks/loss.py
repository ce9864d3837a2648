"""The loss is finite."""

import math
from typing import Literal

from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.errors import TrainingDiverged


def check_loss(
    loss: float, config: OptimizerSection, phase: Literal["sft", "rft", "grpo", "critic"], step: int
) -> None:
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
