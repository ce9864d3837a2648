"""`[critic]`: the value model that goes with `grpo.credit = "gae"`."""

from typing import Literal, Self

from pydantic import model_validator

from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.config.values import CountOrNone, NonNegative


class CriticSection(OptimizerSection):
    """The value model: what an agent can still expect to earn, before each token that it samples."""

    kind: Literal["head", "model"] = "head"
    """`head`: one linear layer on the policy's last hidden states, which costs next to nothing. `model`: a
    model of its own, which costs as much memory and time as the policy, and leaves the policy alone."""
    path: str = ""
    """For `kind = "model"`, what it begins as: a folder in `transformers`' form or a name on the hub, with
    the policy's vocabulary; `models/critic` of another run is one. Empty: a copy of the policy as it is when
    GRPO begins."""
    coefficient: NonNegative = 0.1
    """For `kind = "head"`, how much of the value loss's gradient goes on into the policy's own weights,
    beside the policy loss's; 0: none, and only the head learns values."""
    lead_steps: CountOrNone = 0
    """For this many GRPO steps at the beginning only the value model learns, so that the policy's first
    updates do not follow values that mean nothing yet. The policy's warm-up begins after them."""
    value_clip: NonNegative = 0.0
    """The value loss does not reward moving a value further than this from what it was when the batch was
    played, in units of the reward; 0.2 is usual where returns are about 1; 0 leaves it out."""

    @model_validator(mode="after")
    def _kind_has_its_keys(self) -> Self:
        if self.kind == "head" and self.path:
            raise ValueError(
                f'path = "{self.path}" is a model of its own, but kind = "head" is a layer on the policy; '
                'take kind = "model", or drop path'
            )
        if self.kind == "model" and self.coefficient != type(self).model_fields["coefficient"].default:
            raise ValueError(
                f"coefficient = {self.coefficient:g} is what reaches the policy's weights, with which kind = "
                '"model" shares none; take kind = "head", or drop coefficient'
            )
        return self
