"""`[evaluation]` and `[validation]`: what is measured on held-out tasks, before, while and after training."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ludus.tools.section import Section
from ludus.trainers.config.values import Count, CountOrNone, NonNegative


class EvaluationSection(Section):
    """The evaluations before and after GRPO, on the same held-out tasks."""

    episodes: CountOrNone = 512
    """Held-out tasks, distinct by content and never trained on; 0 leaves evaluation out. Where there are few
    distinct tasks, at most half of what training draws is held out. Several environments, and the levels at
    which a curriculum is evaluated, share them evenly."""
    samples: Count = 1
    """Episodes of each task. With several, pass@k is measured, too: the chance that one of k succeeds."""
    first_seed: Annotated[int, Field(ge=0, lt=2**62)] = 2**32
    """The tasks are those of the seeds from this one on. Training seeds are below 2**32."""
    temperature: NonNegative = 0.0
    """0 is greedy; above it, `rollout.top_p`, `top_k` and `min_p` hold here, too."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.first_seed < 2**32:
            raise ValueError(
                f"first_seed = {self.first_seed} lies among the training seeds, which are below 2**32 = "
                f"{2**32}; choose one above"
            )
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"samples = {self.samples} at temperature = 0 would all be the same; give a temperature "
                "above 0, or take samples = 1"
            )
        return self


class ValidationSection(Section):
    """Evaluation while training, on held-out tasks apart from those of `[evaluation]`: since they choose the
    best weights, what these earn on them is too good to be true."""

    every: CountOrNone = 0
    """GRPO steps between two validations; 0 leaves them out. The last step is always followed by one."""
    tasks: Count = 128
    """Held-out tasks, shared evenly as `evaluation.episodes` are."""
    samples: Count = 1
    """Episodes of each task; with several, pass@k is measured, too. At `evaluation.temperature`."""
    best: Literal["success", "reward", "pass_at_k"] = "success"
    """The metric whose highest value so far makes weights the best ones: they are kept as `models/best` and
    evaluated at the end, beside the final ones. `pass_at_k` is taken with k = `samples`."""
    patience: CountOrNone = 0
    """GRPO ends early after this many validations in a row without a new best; 0 plays all steps."""

    @property
    def best_metric(self) -> str:
        """The name of the metric that tells which weights are best."""
        name = f"pass@{self.samples}" if self.best == "pass_at_k" else self.best
        return f"validation/{name}"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.patience and not self.every:
            raise ValueError(
                f"patience = {self.patience} counts validations, but every = 0 leaves them out; say how many "
                "steps lie between two, or drop patience"
            )
        if self.best == "pass_at_k" and self.samples == 1:
            raise ValueError(
                'best = "pass_at_k" with samples = 1 is success itself; give more samples, or take '
                'best = "success"'
            )
        return self
