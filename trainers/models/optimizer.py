"""Optimizers with warm-up and a schedule, and clipping of the gradient's norm; in float32, whatever the
weights are stored in."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.errors import ConfigError
from ludus.trainers.models.precision import gradient_dtype, rounded_at_random
from ludus.trainers.models.rules import Rule, apart, put_state, rules_of, state_of
from ludus.trainers.schedules import decay


class Optimizer:
    """One or two algorithms, which step on float32 copies of parameters in a shorter format, their *masters*.

    A step is then not lost for being smaller than the distance between two numbers of that format. Such
    parameters get float32 gradients. `param_groups` hold the masters, and the parameters that need none.

    Args:
        rules: Each with its groups of parameters, which are as torch's, and have a `factor` of the learning
            rate.
        keeps_masters: Otherwise they are there during a step only, made from the parameters, which are then
            rounded up or down at random, so that they come out right on average.
    """

    def __init__(self, rules: Sequence[tuple[Rule, list[dict[str, Any]]]], keeps_masters: bool) -> None:
        self._keeps_masters = keeps_masters
        self._masters: list[tuple[nn.Parameter, nn.Parameter]] = []
        """Parameters, each with its master."""
        self._rules = [
            rule([{**group, "params": [self._stepped_on(p) for p in group["params"]]} for group in groups])
            for rule, groups in rules
        ]

    def _stepped_on(self, parameter: nn.Parameter) -> nn.Parameter:
        if parameter.dtype.itemsize >= 4:
            return parameter
        parameter.grad_dtype = gradient_dtype(parameter)
        master = nn.Parameter(parameter.detach().float())
        self._masters.append((parameter, master))
        if not self._keeps_masters:
            master.data = _emptied(master)
        return master

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of all algorithms, one after the other."""
        return [group for rule in self._rules for group in rule.param_groups]

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those that are trained."""
        of_master = {master: parameter for parameter, master in self._masters}
        stepped_on = (parameter for group in self.param_groups for parameter in group["params"])
        return (of_master.get(parameter, parameter) for parameter in stepped_on)

    @torch.no_grad()
    def step(self) -> None:
        """Take a step, and clear the gradients."""
        with self._having_masters():
            for parameter, master in self._masters:
                master.grad = parameter.grad
            for rule in self._rules:
                rule.step()
            for parameter, master in self._masters:
                parameter.copy_(master if self._keeps_masters else rounded_at_random(master))
        self.zero_grad()

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None
        for _, master in self._masters:
            master.grad = None

    def state_dict(self) -> dict[str, Any]:
        """As torch's, with the masters that are kept, and without groups, which follow from a
        configuration."""
        state, kept = {}, self._kept()
        for index, (rule, _, parameter) in enumerate(self._places()):
            slots = state_of(rule, parameter)
            if parameter in kept:
                slots["master"] = parameter.detach()
            if slots:
                state[index] = slots
        return {"state": state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """
        Raises:
            KeyError: if a master is missing.
        """
        state: Mapping[int, Mapping[str, Tensor]] = state_dict["state"]
        kept = self._kept()
        with torch.no_grad(), self._having_masters():
            for index, (rule, place, parameter) in enumerate(self._places()):
                slots = dict(state.get(index, {}))
                if parameter in kept:
                    parameter.copy_(slots.pop("master"))
                put_state(rule, place, parameter, slots)

    @contextmanager
    def _having_masters(self) -> Iterator[None]:
        """Inside, masters that are not kept are there."""
        passing = [] if self._keeps_masters else self._masters
        for parameter, master in passing:
            master.data = parameter.detach().float()
        yield
        for _, master in passing:
            master.data = _emptied(master)

    def _kept(self) -> set[nn.Parameter]:
        return {master for _, master in self._masters} if self._keeps_masters else set()

    def _places(self) -> Iterator[tuple[torch.optim.Optimizer, tuple[int, int], nn.Parameter]]:
        """All that is stepped on, each with what steps on it, its group there, and its place in the group."""
        for rule in self._rules:
            for number, group in enumerate(rule.param_groups):
                for place, parameter in enumerate(group["params"]):
                    yield rule, (number, place), parameter


def _emptied(parameter: nn.Parameter) -> Tensor:
    """Of as many dimensions."""
    return parameter.data.new_empty([0] * parameter.ndim)


def build_optimizer(model: nn.Module, config: OptimizerSection, keeps_masters: bool = True) -> Optimizer:
    """An optimizer of the trainable parameters; norms and biases (parameters of one dimension) are not
    decayed.

    Raises:
        ConfigError: if a pattern of `rate_factors` fits no name.
    """
    factors, others = rate_factors(model, config), apart(model, config.optimizer)
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, parameter in _trained(model):
        key = (parameter in others, parameter.ndim <= 1, factors[name])
        groups.setdefault(key, []).append(parameter)
    parts: list[list[dict[str, Any]]] = [[], []]
    for is_apart, is_vector, factor in sorted(groups):
        parts[is_apart].append(
            {
                "params": groups[is_apart, is_vector, factor],
                "lr": factor * config.learning_rate,
                "factor": factor,
                "weight_decay": 0.0 if is_vector else config.weight_decay,
            }
        )
    rules = zip(rules_of(config.optimizer), parts, strict=True)
    return Optimizer([(rule, part) for rule, part in rules if part], keeps_masters)


def rate_factors(model: nn.Module, config: OptimizerSection) -> dict[str, float]:
    """What the learning rate of each trainable parameter is multiplied by; of several patterns that fit its
    name, the first counts.

    Raises:
        ConfigError: if a pattern fits no name.
    """
    names = [name for name, _ in _trained(model)]
    for pattern in config.rate_factors:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f'rate_factors: "{pattern}" fits no weight that is trained, whose names are such as '
                f"{names[len(names) // 2]}: let * stand for what varies"
            )
    fitting = config.rate_factors.items()
    return {
        name: next((factor for pattern, factor in fitting if fnmatchcase(name, pattern)), 1.0)
        for name in names
    }


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


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
        group["lr"] = rate * group["factor"]
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
