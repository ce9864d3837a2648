"""AdamW with warm-up and a schedule, and clipping of the gradient's norm; in float32, whatever the weights
are stored in."""

import math
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import nn

from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.models.precision import gradient_dtype, rounded_at_random
from ludus.trainers.schedules import decay


class Optimizer(torch.optim.AdamW):
    """AdamW that steps on float32 copies of parameters in a shorter format, its *masters*.

    A step is then not lost for being smaller than the distance between two numbers of that format. Such
    parameters get float32 gradients. `param_groups` hold the masters, and the parameters that need none.

    Args:
        groups: Of parameters, as torch's.
        learning_rate: The first.
        keeps_masters: Otherwise they are there during a step only, made from the parameters, which are then
            rounded up or down at random, so that they come out right on average.
    """

    def __init__(self, groups: list[dict[str, Any]], learning_rate: float, keeps_masters: bool) -> None:
        self._keeps_masters = keeps_masters
        self._masters: list[tuple[nn.Parameter, nn.Parameter]] = []
        """Parameters, each with its master."""
        super().__init__(
            [{**group, "params": [self._stepped_on(p) for p in group["params"]]} for group in groups],
            lr=learning_rate,
        )

    def _stepped_on(self, parameter: nn.Parameter) -> nn.Parameter:
        if parameter.dtype.itemsize >= 4:
            return parameter
        parameter.grad_dtype = gradient_dtype(parameter)
        master = nn.Parameter(parameter.detach().float())
        self._masters.append((parameter, master))
        if not self._keeps_masters:
            master.data = master.data.new_empty(0)
        return master

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those that are trained."""
        of_master = {master: parameter for parameter, master in self._masters}
        stepped_on = chain.from_iterable(group["params"] for group in self.param_groups)
        return (of_master.get(parameter, parameter) for parameter in stepped_on)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step, and clear the gradients. There is no closure: gradients are there by now."""
        for parameter, master in self._masters:
            if not self._keeps_masters:
                master.data = parameter.detach().float()
            master.grad = parameter.grad
        super().step(closure)
        for parameter, master in self._masters:
            if self._keeps_masters:
                parameter.copy_(master)
            else:
                parameter.copy_(rounded_at_random(master))
                master.data = master.data.new_empty(0)
        self.zero_grad()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter, master in self._masters:
            parameter.grad = master.grad = None
        super().zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """As torch's, with the masters that are kept."""
        content = super().state_dict()
        for index, master in self._kept().items():
            content["state"][index] = {**content["state"].get(index, {}), "master": master.detach()}
        return content

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """
        Raises:
            KeyError: if a master is missing.
        """
        slots = {index: dict(tensors) for index, tensors in state_dict["state"].items()}
        masters = {index: slots[index].pop("master") for index in self._kept()}
        super().load_state_dict({**state_dict, "state": {i: slots[i] for i in slots if slots[i]}})
        with torch.no_grad():
            for index, master in self._kept().items():
                master.copy_(masters[index])

    def _kept(self) -> dict[int, nn.Parameter]:
        """The masters by their places among all that is stepped on."""
        masters = {master for _, master in self._masters if self._keeps_masters}
        stepped_on = chain.from_iterable(group["params"] for group in self.param_groups)
        return {index: parameter for index, parameter in enumerate(stepped_on) if parameter in masters}


def build_optimizer(model: nn.Module, config: OptimizerSection, keeps_masters: bool = True) -> Optimizer:
    """An optimizer of the trainable parameters; norms and biases (parameters of one dimension) are not
    decayed."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    return Optimizer(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        config.learning_rate,
        keeps_masters,
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


def clip_gradients(optimizer: Optimizer, max_grad_norm: float) -> float:
    """Returns the gradients' global 2-norm before clipping."""
    return float(nn.utils.clip_grad_norm_(optimizer.parameters(), max_grad_norm))


def take_step(optimizer: Optimizer, rate: float) -> None:
    """Step, and clear the gradients."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


def apply_gradients(optimizer: Optimizer, rate: float, max_grad_norm: float) -> float:
    """Clip, step, clear; returns the gradients' global 2-norm before clipping. If that is not finite, no step
    is taken."""
    norm = clip_gradients(optimizer, max_grad_norm)
    if math.isfinite(norm):
        take_step(optimizer, rate)
    else:
        optimizer.zero_grad()
    return norm
