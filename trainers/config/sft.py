"""`[sft]`: priming."""

from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.config.values import Count, CountOrNone


class SftSection(OptimizerSection):
    """Priming: supervised fine-tuning on the oracle's demonstrations."""

    steps: CountOrNone = 200
    """Optimiser steps; 0 leaves priming out."""
    demonstrations: Count = 2048
    """Episodes that the environment's oracle plays, on training tasks."""
    heldout_demonstrations: Count = 128
    """Episodes that it plays on held-out tasks; the held-out loss is taken over them, never trained on."""
    batch_episodes: Count = 64
    """Demonstrations per optimiser step."""
    heldout_every: Count = 50
    """Steps between two measurements of the held-out loss; it is also taken at the last step."""
