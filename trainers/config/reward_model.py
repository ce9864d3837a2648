"""`[reward_model]`: training a reward model in the place of a policy."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.config.values import Count, NonNegative


class RewardModelSection(OptimizerSection):
    """A reward model, trained on the layers of `model.path`: a language model, such as the policy, or a
    sequence-classification model with one label. The run has no other phases."""

    kind: Literal["outcome", "process"] = "outcome"
    """`outcome`: a reward for a whole conversation, from pairs of which one is preferred (Bradley and Terry).
    `process`: a value for each step of a reply, the probability of success from there on."""
    data: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Files. Of `outcome`: pairs, as `ludus pairs` writes them. Of `process`: conversations with labelled
    steps, or the `episodes/steps.parquet` of another run. See [Reward models](reward_models.md)."""
    separator: str = "\n"
    """Of `process`: the text that ends a step. The end of a reply always does; empty: nothing else."""
    tasks: Count = 64
    """Of `process` without data: training tasks that the policy, `model.path`, plays."""
    samples: Count = 4
    """Episodes of each task."""
    rollouts: Count = 8
    """From the end of each step of these episodes the policy goes on so many times; the step's label is the
    share that succeeded (Math-Shepherd's soft estimation, arXiv:2312.08935)."""
    heldout_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The share of the data that is measured on, never trained on. What has the same beginning is on the same
    side."""
    epochs: NonNegative = 0.0
    """Passes over the data, in place of `steps`; 0 lets `steps` count."""
    steps: Count = 200
    """Optimiser steps."""
    batch_examples: Count = 32
    """Pairs, or rows of steps, per optimiser step."""
    heldout_every: Count = 50
    """Steps between two measurements of the held-out loss; it is also taken at the last step."""
    margin: NonNegative = 0.0
    """Of `outcome`: the chosen one's reward is to be higher by this many times the pair's own margin
    (arXiv:2307.09288); 0: higher by any amount."""
    centring: NonNegative = 0.0
    """Of `outcome`: the weight of the squared sum of a pair's rewards in its loss, which keeps rewards around
    0 (arXiv:2312.09244); 0.01 is usual."""

    @model_validator(mode="after")
    def _kind_has_its_keys(self) -> Self:
        fields = type(self).model_fields
        others: dict[str, tuple[str, ...]] = {
            "outcome": ("separator", "tasks", "samples", "rollouts"),
            "process": ("margin", "centring"),
        }
        for key in others[self.kind]:
            if getattr(self, key) != fields[key].default:
                kind = "process" if self.kind == "outcome" else "outcome"
                raise ValueError(
                    f'{key} is for kind = "{kind}", and kind = "{self.kind}"; drop one of the two'
                )
        if self.kind == "outcome" and not self.data:
            raise ValueError(
                'kind = "outcome" learns from pairs, and there are none; name files in reward_model.data '
                "(ludus pairs makes some of a run's episodes)"
            )
        return self

    @property
    def plays(self) -> bool:
        """Whether its labels come from the policy's own rollouts."""
        return self.kind == "process" and not self.data

    def steps_over(self, examples: int) -> int:
        """Optimiser steps of training on this many examples."""
        return max(1, math.ceil(self.epochs * examples / self.batch_examples)) if self.epochs else self.steps
