"""The keys of `[grpo]` about process rewards: values for the steps of a reply."""

import re
from typing import Self

from pydantic import field_validator, model_validator

from ludus.tools.section import Section
from ludus.trainers.advantages.registry import SCORERS
from ludus.trainers.config.values import Positive, nearest


class ProcessKeys(Section):
    """Process rewards."""

    process: str = ""
    """What scores the steps of a reply: `arithmetic` checks each line of a working-out; `module:function` is
    one of your own; a folder, such as `runs/NAME/models/reward`, is a process reward model
    (`[reward_model]`); empty: nothing does. A step's value is earned at the token that ends it. With `credit
    = "group"` it only adds to the return."""
    process_weight: Positive = 1.0
    """What the value of a step is multiplied by."""
    process_device: str = "cpu"
    """Where the weights of a process reward model go."""

    @field_validator("process")
    @classmethod
    def _scorer_is_named(cls, name: str) -> str:
        if name and "/" not in name and name not in SCORERS and not re.fullmatch(r"[\w.]+:\w+", name):
            raise ValueError(
                f'no scorer "{name}" is registered (one of your own is written "module:function", a model by '
                f'its folder, with "/"){nearest(name, SCORERS)}'
            )
        return name

    @model_validator(mode="after")
    def _process_is_consistent(self) -> Self:
        if self.process_weight != 1.0 and not self.process:
            raise ValueError(
                f"process_weight = {self.process_weight:g} weighs the steps of replies, but nothing scores "
                "them; name a scorer by process, or drop process_weight"
            )
        if self.process_device != "cpu" and "/" not in self.process:
            raise ValueError(
                f'process_device = "{self.process_device}" is for a process reward model, and process names '
                "no folder of one; drop it"
            )
        return self
