"""The keys of `[grpo]` that say which policy loss, and what bounds it."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from ludus.tools.section import Section
from ludus.trainers.config.values import NonNegative
from ludus.trainers.losses import registry as losses

if TYPE_CHECKING:
    LossName = str
else:
    LossName = Literal[tuple(losses.LOSSES)]


class PolicyLossKeys(Section):
    """The policy loss."""

    loss: LossName = Field(default="grpo", description=losses.described())
    """The policy loss; the table in [Losses](losses.md) has them all."""
    ratio: Literal["default", "token", "sequence"] = "default"
    """`default`: the loss's own, see [Losses](losses.md); `token`: one for each token; `sequence`: one for
    each of an episode's sequences, the geometric mean of its tokens', which moves far less than a token's and
    needs clipping bounds some 1000 times narrower."""
    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The ratio is clipped below at 1 - clip_low."""
    clip_high: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    """The ratio is clipped above at 1 + clip_high."""
    dual_clip: NonNegative = 0.0
    """At a negative advantage, where clipping bounds no large ratio, a ratio counts as this at most; 3 is
    usual (arXiv:1912.09729); 0 leaves it out."""

    @model_validator(mode="after")
    def _bounds_have_a_use(self) -> Self:
        if 0 < self.dual_clip <= 1:
            raise ValueError(
                f"dual_clip = {self.dual_clip:g} would stop the gradient of a ratio of 1, and with it all "
                "learning; take a bound above 1, 3 is usual, or 0 for none"
            )
        if self.dual_clip and losses.LOSSES[self.loss].objective == "cispo":
            raise ValueError(
                f'dual_clip = {self.dual_clip:g} bounds a clipped objective, but loss = "{self.loss}" weighs '
                "tokens by a ratio that clip_high bounds at either sign; drop it or change the loss"
            )
        return self
