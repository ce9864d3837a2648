"""`[rft]`: rejection sampling."""

import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.config.values import Count, CountOrNone


class RftSection(OptimizerSection):
    """Rejection sampling (RFT, arXiv:2308.01825), after priming and before GRPO: sample several replies for
    each task, keep those that succeeded, fine-tune on them, and repeat with the better policy."""

    iterations: CountOrNone = 0
    """How many times to sample and fine-tune; 0 leaves rejection sampling out."""
    tasks: Count = 64
    """New training tasks per iteration."""
    samples: Count = 8
    """Episodes played of each task."""
    keep: Count = 4
    """The most episodes of one task to fine-tune on: those with the highest reward, all different."""
    only_successes: bool = True
    """Keep only episodes that succeeded."""
    least_reward: Annotated[float, Field(allow_inf_nan=True)] = -math.inf
    """Keep no episode with a smaller reward."""
    steps: Count = 20
    """Optimiser steps per iteration."""
    batch_episodes: Count = 32
    """Kept episodes per optimiser step."""

    @model_validator(mode="after")
    def _selects(self) -> Self:
        if math.isnan(self.least_reward):
            raise ValueError("least_reward = nan: no reward is above or below it; give a number")
        if self.iterations and not self.only_successes and self.least_reward == -math.inf:
            raise ValueError(
                "only_successes = false keeps failures too, so nothing would be selected; give a "
                "least_reward, or take only_successes = true"
            )
        return self
