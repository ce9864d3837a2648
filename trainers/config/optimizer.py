"""AdamW and its learning rate, which several tables share."""

from ludus.tools.section import Section
from ludus.trainers.config.values import Count, CountOrNone, NonNegative, Positive, Schedule


class OptimizerSection(Section):
    """AdamW and its learning rate; shared by both phases."""

    learning_rate: Positive = 1e-3
    """The peak, after warm-up."""
    warmup_steps: CountOrNone = 0
    """Steps over which the rate rises linearly from 0."""
    schedule: Schedule = "constant"
    """After warm-up: stay, or fall to 0 at the phase's last step, linearly or along a half cosine."""
    weight_decay: NonNegative = 0.0
    """AdamW's decoupled decay."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this global 2-norm."""
    max_skipped: CountOrNone = 3
    """A step whose gradient is not finite is skipped; more in a row than this stop the run."""
    microbatch_tokens: Count = 1024
    """The most tokens in one forward pass. Bounds memory; results change only by rounding. The default is the
    fastest on a CPU (benchmarks/grpo_step.py); a GPU is faster with more."""
