"""Before the first update of a batch, new and old policy are the same to the bit."""

from ludus.trainers.errors import TrainingDiverged


def check_ratio(deviation: float, step: int) -> None:
    """
    Args:
        deviation: The largest |ratio - 1| of any token, before the batch's first update.
        step: Counted from 0.

    Raises:
        TrainingDiverged: if it is not exactly 0.
    """
    if deviation != 0.0:
        raise TrainingDiverged(
            f"GRPO step {step + 1}: before the first update the ratio of new to old policy is off 1 by "
            f"{deviation:.3g}, though both are the same: the model's forward pass is not reproducible. "
            "Likely causes: dropout or another random layer that evaluation mode leaves on, or operators "
            "that are not deterministic"
        )
