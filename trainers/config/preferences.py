"""`[preferences]`: training on which of two replies is better."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.config.values import Count, CountOrNone, NonNegative, Positive

_FRESH = ("tasks", "samples", "by", "most", "least_margin")
_STORED = ("heldout_share", "heldout_every")


class PreferencesSection(OptimizerSection):
    """Preferences, after priming and rejection sampling and before GRPO: the chosen of two replies becomes
    likelier than the rejected one, measured from the model that this begins with. See
    [Preferences](preferences.md)."""

    steps: CountOrNone = 0
    """Optimiser steps; 0 leaves preferences out."""
    data: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Files of pairs (JSON Lines or Parquet, or a folder that `datasets` saved), such as `ludus pairs`
    writes. Empty: each step plays fresh groups and makes pairs of them."""
    loss: Literal["dpo", "ipo"] = "dpo"
    """`dpo`: -log σ(βd) (arXiv:2305.18290). `ipo`: (d - 1 / 2β)² (arXiv:2310.12036), which ends at a
    difference instead of pushing on. d is the chosen side's log-ratio of policy to reference minus the
    rejected one's."""
    learning_rate: Positive = 3e-5
    """The peak, after warm-up."""
    beta: Positive = 0.1
    """How close the policy stays to the reference: smaller is farther."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """The share of pairs taken to be the wrong way round. For `dpo`."""
    length_normalised: bool = False
    """Log-ratios are means over a side's tokens instead of sums, so that long replies count no more than
    short ones; β is then larger by about their length. TRL's `sigmoid_norm` and `ipo` do so."""
    sft_coefficient: NonNegative = 0.0
    """Weight of the negative log-likelihood of the chosen replies, per token, beside."""
    batch_pairs: Count = 32
    """The most pairs of a step, from data. They are cut once into batches of about the same size, and every
    pass takes the batches in another order."""
    heldout_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The share of the data on which loss and accuracy are measured, never trained on. Pairs with the same
    opening are on the same side. For data."""
    heldout_every: Count = 50
    """Steps between two measurements on what is held out; also at the last step. For data."""
    tasks: Count = 16
    """New training tasks per step. Without data."""
    samples: Count = 8
    """Episodes played of each task. Without data."""
    by: Annotated[str, Field(min_length=1)] = "success"
    """What judges them: `success`, `reward` (the return), or a reward term, such as a grader's. Without
    data."""
    most: Count = 1
    """Pairs of a task: the best against the worst, the second best against the second worst, and so on.
    Without data."""
    least_margin: NonNegative = 0.0
    """Pairs that differ by less are left out. Without data."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError(
                f'label_smoothing = {self.label_smoothing:g} is of loss = "dpo"; "ipo" ends at a margin '
                "anyway: drop it, or take dpo"
            )
        absent, because = (
            (_FRESH, "with data nothing is played") if self.data else (_STORED, "there is no data")
        )
        for name in absent:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} = {getattr(self, name)}, but {because}; drop one of the two")
        if self.samples == 1:
            raise ValueError("samples = 1: an episode alone has nothing to be compared with; take 2 or more")
        if self.data and not self.steps:
            raise ValueError("steps = 0 leaves preferences out, and data with it; drop one of the two")
        return self

    @property
    def is_online(self) -> bool:
        """Whether each step plays its pairs."""
        return self.steps > 0 and not self.data
