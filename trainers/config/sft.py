"""`[sft]`: priming."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.config.values import Count, CountOrNone, NonNegative


class SftSection(OptimizerSection):
    """Priming: supervised fine-tuning on demonstrations, or on data of your own."""

    steps: CountOrNone = 200
    """Optimiser steps; 0 leaves priming out."""
    epochs: NonNegative = 0.0
    """Passes over the demonstrations or the data, in place of `steps`; 0 lets `steps` count."""
    demonstrations: Count = 2048
    """Episodes that the demonstrator plays, on training tasks."""
    demonstrator: Annotated[str, Field(min_length=1)] = "oracle"
    """Which of the environment's scripted agents plays them. `oracle` shows how it is done; `random` the form
    of the replies, and leaves the rest to be learned from what is earned."""
    heldout_demonstrations: Count = 128
    """Episodes that it plays on held-out tasks; the held-out loss is taken over them, never trained on."""
    observations_weight: NonNegative = 0.0
    """How much what the environment said to the replies counts beside the replies: so the policy also learns
    what its actions do (implicit world modelling, arXiv:2510.08558). 0 leaves it out, 1 is a start. For
    demonstrations."""
    data: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    """Files to train on in place of demonstrations: conversations (JSON Lines or Parquet, or a folder that
    `datasets` saved), episode files, folders of `ludus bench`. See
    [Fine-tune on your own data](training.md#fine-tune-on-your-own-data)."""
    train_on: Literal["all", "last"] = "all"
    """`all`: every reply of the assistant in a conversation. `last`: the last one only."""
    only_successes: bool = False
    """Drop conversations that did not succeed. For data."""
    least_reward: Annotated[float, Field(allow_inf_nan=True)] = -math.inf
    """Drop conversations with a smaller reward. For data."""
    heldout_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The share of the data that the held-out loss is taken over, never trained on. Conversations with the
    same opening are on the same side."""
    batch_episodes: Count = 64
    """Demonstrations or conversations per optimiser step."""
    heldout_every: Count = 50
    """Steps between two measurements of the held-out loss; it is also taken at the last step."""

    @model_validator(mode="after")
    def _data_is_consistent(self) -> Self:
        if math.isnan(self.least_reward):
            raise ValueError("least_reward = nan: no reward is above or below it; give a number")
        if self.data and self.demonstrator != "oracle":
            raise ValueError(
                f"demonstrator = {self.demonstrator} plays nothing where data takes its place; "
                "drop one of the two"
            )
        if self.data and self.observations_weight:
            raise ValueError(
                f"observations_weight = {self.observations_weight} is for demonstrations: of data only "
                "replies are trained on; drop one of the two"
            )
        chosen = {
            "train_on": self.train_on != "all",
            "only_successes": self.only_successes,
            "least_reward": self.least_reward > -math.inf,
        }
        if not self.data and any(chosen.values()):
            name = next(name for name, is_chosen in chosen.items() if is_chosen)
            raise ValueError(f"{name} is for data, but there is none; name files in sft.data, or drop {name}")
        if self.steps == 0 and (self.data or self.epochs):
            name = "data" if self.data else "epochs"
            raise ValueError(f"steps = 0 leaves priming out, and {name} with it; drop one of the two")
        return self

    @property
    def demonstrates(self) -> bool:
        """Whether a scripted agent is asked for demonstrations."""
        return self.steps > 0 and not self.data

    def steps_over(self, rows: int) -> int:
        """Optimiser steps of priming on this many rows."""
        return math.ceil(self.epochs * rows / self.batch_episodes) if self.epochs else self.steps
