"""The keys of `[grpo]` that keep the policy near a reference."""

from typing import Literal, Self

from pydantic import model_validator

from ludus.tools.section import Section
from ludus.trainers.config.values import CountOrNone, NonNegative, Positive


class KlKeys(Section):
    """The divergence from a reference."""

    kl_coefficient: NonNegative = 0.0
    """Weight of the KL divergence to the reference, the model that GRPO starts from; 0 leaves it out."""
    kl_reset_every: CountOrNone = 0
    """The policy becomes the reference after every so many steps; 0: it never changes."""
    kl_schedule: Literal["constant", "linear", "cosine", "adaptive"] = "constant"
    """`linear`, `cosine`: the coefficient falls to 0 until step `kl_steps`; `adaptive`: it rises where the
    divergence is above `kl_target` and falls where it is below (arXiv:1909.08593)."""
    kl_steps: CountOrNone = 0
    """The step at which a falling coefficient reaches 0; 0: the last one."""
    kl_target: NonNegative = 0.0
    """The divergence that an adaptive coefficient aims at, in nats per token, as the metric `kl` has it."""
    kl_horizon: Positive = 10.0
    """An adaptive coefficient changes by at most 0.2 / kl_horizon of itself in a step. Counted in
    steps: where a published horizon counts episodes, divide it by those of a step."""
    kl_in: Literal["loss", "reward"] = "loss"
    """`loss`: a term of the loss, whose gradient is that of the divergence. `reward`: every token is charged
    for the estimator's value, and credit is given for what is left; only k1 has the divergence's gradient
    there."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """The estimator of the KL divergence; in the loss each has the form with the divergence's gradient."""

    @model_validator(mode="after")
    def _kl_is_consistent(self) -> Self:
        if not self.kl_coefficient and self.kl_schedule != "constant":
            raise ValueError(
                f'kl_schedule = "{self.kl_schedule}" changes kl_coefficient, but kl_coefficient = 0; give it '
                "a value to begin with, or drop kl_schedule"
            )
        if not self.kl_coefficient and self.kl_reset_every:
            raise ValueError(
                f"kl_reset_every = {self.kl_reset_every} resets the reference, but with kl_coefficient = 0 "
                "there is none; give it a value, or drop kl_reset_every"
            )
        if self.kl_steps and self.kl_schedule not in ("linear", "cosine"):
            raise ValueError(
                f"kl_steps = {self.kl_steps} is where a falling coefficient reaches 0, but kl_schedule = "
                f'"{self.kl_schedule}"; take "linear" or "cosine", or drop kl_steps'
            )
        if self.kl_schedule == "adaptive" and not self.kl_target:
            raise ValueError(
                'kl_schedule = "adaptive" needs kl_target, the divergence to aim at in nats per token; 0.01 '
                "is close to the reference, 0.1 is far"
            )
        if self.kl_schedule != "adaptive" and (self.kl_target or self.kl_horizon != 10.0):
            name = "kl_target" if self.kl_target else "kl_horizon"
            raise ValueError(
                f"{name} = {getattr(self, name):g} is of an adaptive coefficient, but kl_schedule = "
                f'"{self.kl_schedule}"; take "adaptive", or drop {name}'
            )
        if self.kl_in == "reward" and not self.kl_coefficient:
            raise ValueError(
                'kl_in = "reward" charges kl_coefficient times the divergence, but kl_coefficient = 0; give '
                "it a value, or drop kl_in"
            )
        return self
