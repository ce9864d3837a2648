"""The keys of `[grpo]` that keep the policy near a reference."""

from typing import Literal, Self

from pydantic import model_validator

from ludus.tools.section import Section
from ludus.trainers.config.values import NonNegative


class KlKeys(Section):
    """The divergence from a reference."""

    kl_coefficient: NonNegative = 0.0
    """Weight of the KL divergence to the primed model; 0 leaves it out."""
    kl_in: Literal["loss", "reward"] = "loss"
    """`loss`: a term of the loss, whose gradient is that of the divergence. `reward`: every token is charged
    for its own log-ratio to the reference, and credit is given for what is left."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """The estimator of the KL divergence, each in the form that has its gradient."""

    @model_validator(mode="after")
    def _kl_is_consistent(self) -> Self:
        if self.kl_in == "reward" and not self.kl_coefficient:
            raise ValueError(
                'kl_in = "reward" charges kl_coefficient times the divergence, but kl_coefficient = 0; give '
                "it a value, or drop kl_in"
            )
        return self
