"""An optimizer and its learning rate, which several tables share."""

from typing import Annotated, Literal

from pydantic import Field

from ludus.tools.section import Section
from ludus.trainers.config.values import Count, CountOrNone, NonNegative, Positive, Schedule

Algorithm = Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "muon"]


class OptimizerSection(Section):
    """An optimizer and its learning rate; shared by both phases."""

    optimizer: Algorithm = "adamw"
    """`adamw_8bit`: AdamW whose two moments are kept in 8 bits each (arXiv:2110.02861), but for the
    embeddings'. `paged_…`: they move to the host's memory when the GPU's runs out. `muon`: Muon for the
    matrices of the layers, with updates as large as AdamW's, so that its rates fit (arXiv:2502.16982), and
    AdamW for the rest."""
    learning_rate: Positive = 1e-3
    """The peak, after warm-up."""
    warmup_steps: CountOrNone = 0
    """Steps over which the rate rises linearly from 0."""
    schedule: Schedule = "constant"
    """After warm-up: stay, or fall to 0 at the phase's last step, linearly or along a half cosine."""
    rate_factors: dict[Annotated[str, Field(min_length=1)], Positive] = Field(default_factory=dict)
    """Factors of the learning rate for weights by name, such as `{"*.embed_tokens.*" = 0.1}`, where `*`
    stands for anything. The first pattern that fits counts."""
    weight_decay: NonNegative = 0.0
    """The decoupled decay of matrices."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this global 2-norm."""
    max_skipped: CountOrNone = 3
    """A step whose gradient is not finite is skipped; more in a row than this stop the run."""
    microbatch_tokens: Count = 1024
    """The most tokens in one forward pass. Bounds memory; results change only by rounding. The default is the
    fastest on a CPU (benchmarks/grpo_step.py); a GPU is faster with more."""
