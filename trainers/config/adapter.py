"""`[adapter]`: a small part that is trained beside a model that stays as it is."""

import math
from typing import Annotated, Literal

from pydantic import Field

from ludus.tools.section import Section
from ludus.trainers.config.values import Count, Positive


class AdapterSection(Section):
    """A LoRA adapter, which is trained in the place of the model's weights; see [Adapters](adapters.md).
    Without this table all weights are trained."""

    kind: Literal["lora"] = "lora"
    """A low-rank term beside linear layers (arXiv:2106.09685)."""
    rank: Count = 16
    """Of the term."""
    alpha: Positive = 32.0
    """The term is scaled by alpha / rank."""
    targets: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] = Field(
        default=["all-linear"]
    )
    """The layers that get one, by name, such as `["q_proj", "v_proj"]`; `all-linear`: every linear layer but
    the output embedding."""
    init: Literal["default", "pissa"] = "default"
    """`default`: half of the term is random, half is 0. `pissa`: it begins as the principal components of the
    layer's weight (arXiv:2404.02948), which often learns faster and costs the term's computation twice."""
    rslora: bool = False
    """Scale by alpha / √rank (arXiv:2312.03732), so that higher ranks do not learn more slowly."""

    @property
    def scaling(self) -> float:
        """The term's factor."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)
