"""The keys of `[grpo]` that say which policy loss, and what bounds it."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from ludus.tools.section import Section
from ludus.trainers.config.values import CountOrNone, NonNegative, Schedule
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
    entropy_coefficient: NonNegative = 0.0
    """Weight of the policy's entropy, which the loss then rewards; 0 leaves it out, 0.001 is a start."""
    entropy_schedule: Schedule = "constant"
    """`linear`, `cosine`: the coefficient falls to 0 until step `entropy_steps`."""
    entropy_steps: CountOrNone = 0
    """The step at which a falling coefficient reaches 0; 0: the last one."""
    correction: Literal["none", "token", "sequence", "geometric"] = "none"
    """Weighs what each token earned by its probability for the trainer over that for the engine that sampled
    it, or by the product or the geometric mean of these over its sequence. For engines whose numbers
    differ."""
    correction_mode: Literal["truncate", "mask"] = "truncate"
    """Whether a weight above the bound counts as the bound, or as 0."""
    correction_bound: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0
    """The largest weight of a correction."""

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
        if not self.entropy_coefficient and self.entropy_schedule != "constant":
            raise ValueError(
                f'entropy_schedule = "{self.entropy_schedule}" lowers entropy_coefficient, but '
                "entropy_coefficient = 0; give it a value, or drop entropy_schedule"
            )
        if self.entropy_steps and self.entropy_schedule == "constant":
            raise ValueError(
                f"entropy_steps = {self.entropy_steps} is where a falling coefficient reaches 0, but "
                'entropy_schedule = "constant"; take "linear" or "cosine", or drop entropy_steps'
            )
        if self.correction == "none" and (self.correction_mode, self.correction_bound) != ("truncate", 2.0):
            name = "correction_bound" if self.correction_mode == "truncate" else "correction_mode"
            raise ValueError(
                f"{name} = {getattr(self, name)} is about the weights of a correction, but correction = "
                f'"none"; take "token", "sequence" or "geometric", or drop {name}'
            )
        return self
