"""Engine and trainer agree about the policy."""

from collections.abc import Mapping

from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.errors import TrainingDiverged


def check_engine(measured: Mapping[str, float], config: GrpoSection, step: int) -> None:
    """
    Args:
        measured: `mismatch_mean` and `mismatch_max`, in nats; empty if no token was sampled.
        step: Counted from 0.

    Raises:
        TrainingDiverged: if engine and trainer disagree too much about the log-probabilities of sampled
            tokens.
    """
    for name, limit in (
        ("mismatch_mean", config.mismatch_mean_limit),
        ("mismatch_max", config.mismatch_max_limit),
    ):
        if not measured.get(name, 0.0) <= limit:  # written so that nan counts as too much
            raise TrainingDiverged(
                f"GRPO step {step + 1}: {name} = {measured[name]:.3g} nats is above grpo.{name}_limit = "
                f"{limit}: engine and trainer compute different probabilities for the tokens that were "
                "sampled, so the gradient would be of another policy. Likely causes: half precision (raise "
                "the limit), a model whose cached and uncached forward passes differ, or weights that the "
                "engine did not take over"
            )
