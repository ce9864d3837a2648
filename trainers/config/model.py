"""`[model]`: the policy's model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ludus.tools.section import Section
from ludus.trainers.config.values import Count, CountOrNone


class SmallModelSection(Section):
    """The shape of the model that `path = "small"` builds; see `ludus.agents.small_model.SmallModelShape`."""

    hidden: Count = 128
    """Width of the residual stream."""
    layers: Count = 5
    """Transformer blocks."""
    heads: Count = 4
    """Query heads."""
    kv_heads: Count = 2
    """Key and value heads; a divisor of `heads`."""
    head_dim: Count = 32
    """Width of one head."""
    intermediate: Count = 384
    """Width of the gated feed-forward layer."""
    vocabulary: Count = 512
    """The most ids that the tokenizer may have."""
    max_positions: Count = 4096
    """The longest context, in tokens."""


class ModelSection(Section):
    """The policy's model."""

    path: Annotated[str, Field(min_length=1)] = "small"
    """`small` builds a model and tokenizer of its own from the environment's text; anything else is a folder
    in `transformers`' form or a name on the hub. Of a LoRA adapter, only the adapter is trained."""
    small: SmallModelSection = SmallModelSection()
    """The shape of the small model."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the weights, in training and sampling. Gradients, the optimizer's state, log-probabilities
    and losses are float32 with both, and so is an adapter."""
    quantize: Literal["none", "nf4"] = "none"
    """`nf4`: the weights of linear layers in 4 bits, their scales in 8 (QLoRA, arXiv:2305.14314); products
    are computed in `dtype`. Such weights are never trained, so it needs `[adapter]`."""
    train_embeddings: bool = True
    """False: the embeddings and the output embedding stay as they are, and need neither gradients nor an
    optimizer's state. With `[adapter]` they always do."""
    masters: bool = True
    """With `bfloat16`: keep a float32 copy of the weights, which the optimizer steps on, since a step smaller
    than about 1/256 of a weight would be lost. Without it, weights are rounded up or down at random, so that
    such steps count on average: 4 bytes less for each weight, and a noisier course."""
    recompute_every: CountOrNone = 0
    """One of every so many layers keeps its input alone and is computed again in the backward pass: 1 is all
    layers, 2 every second one. Takes less memory, and up to a third more time; 0 is none."""
    recompute: Literal["full", "selective"] = "full"
    """What is computed again of such a layer. `full`: everything. `selective`: everything but products with
    weights, which are most of the work."""
    offload_activations: bool = False
    """What layers keep for the backward pass waits in the host's memory, copied while the GPU computes on."""
    device: Annotated[str, Field(min_length=1)] = "cpu"
    """Where torch puts the weights: `cpu`, `cuda`, `cuda:1`."""

    @model_validator(mode="after")
    def _masters_have_a_use(self) -> Self:
        if not self.masters and self.dtype == "float32":
            raise ValueError(
                'masters = false has a use with dtype = "bfloat16" only: float32 weights are stepped on '
                "themselves; drop it"
            )
        return self

    @model_validator(mode="after")
    def _activations_are_consistent(self) -> Self:
        if self.recompute == "selective" and not self.recompute_every:
            raise ValueError(
                'recompute = "selective" is about layers that are computed again, and recompute_every = 0 '
                "names none; take recompute_every = 1, or drop recompute"
            )
        if self.offload_activations and not self.device.startswith("cuda"):
            raise ValueError(
                f'offload_activations moves them from a GPU to the host, and device = "{self.device}" is '
                'none; take device = "cuda", or drop offload_activations'
            )
        return self

    @model_validator(mode="after")
    def _shape_has_a_use(self) -> Self:
        if self.path != "small" and self.small != SmallModelSection():
            raise ValueError(
                f'[model.small] is the shape of path = "small", but path = "{self.path}" brings its own; '
                "drop one"
            )
        return self
