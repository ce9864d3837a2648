"""AdamW with warm-up and a schedule, and clipping of the gradient's norm."""

import math

import torch

from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.errors import TrainingDiverged
from ludus.trainers.schedules import decay


def build_optimizer(model: torch.nn.Module, config: OptimizerSection) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; norms and biases (parameters of one dimension) are not decayed."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
    )


def learning_rate(config: OptimizerSection, step: int, steps: int) -> float:
    """The learning rate of a step.

    Args:
        config: Peak, warm-up and schedule.
        step: Counted from 0.
        steps: Steps of the whole phase; a falling schedule reaches 0 there.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    fraction = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return config.learning_rate * decay(config.schedule, fraction)


def clip_gradients(optimizer: torch.optim.AdamW, max_grad_norm: float) -> float:
    """Returns the gradients' global 2-norm before clipping."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return float(torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm))


def take_step(optimizer: torch.optim.AdamW, rate: float) -> None:
    """Step, and clear the gradients."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def apply_gradients(optimizer: torch.optim.AdamW, rate: float, max_grad_norm: float) -> float:
    """Clip, step, clear; returns the gradients' global 2-norm before clipping.

    Raises:
        TrainingDiverged: if that norm is not finite; the weights are then unchanged.
    """
    norm = clip_gradients(optimizer, max_grad_norm)
    if not math.isfinite(norm):
        raise TrainingDiverged(
            f"the gradient's norm is {norm}: the weights have most likely grown without bound, or a "
            f"log-probability was -inf; lower the learning rate ({rate:.3g} in this step) or lengthen the "
            "warm-up"
        )
    take_step(optimizer, rate)
    return norm
