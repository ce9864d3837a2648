"""`Critic`: a value model in training."""

from dataclasses import dataclass

import torch

from ludus.agents.formats.base import ChatFormat
from ludus.trainers.config.critic import CriticSection
from ludus.trainers.models.optimizer import apply_gradients, learning_rate
from ludus.trainers.models.value import ValueModel


@dataclass(frozen=True)
class Critic:
    """A value model, and what it is trained with."""

    model: ValueModel
    optimizer: torch.optim.AdamW
    config: CriticSection
    format: ChatFormat
    """Renders what the environment said after the last action of a truncated episode."""

    def update(self, step: int, steps: int) -> float:
        """One optimiser step on the gradients that were added up; returns their norm.

        Raises:
            TrainingDiverged: if that norm is not finite.
        """
        rate = learning_rate(self.config, step, steps)
        return apply_gradients(self.optimizer, rate, self.config.max_grad_norm)
