"""`Critic`: a value model in training."""

from dataclasses import dataclass

from ludus.agents.formats.base import ChatFormat
from ludus.trainers.config.critic import CriticSection
from ludus.trainers.models.optimizer import Optimizer, clip_gradients, learning_rate, take_step
from ludus.trainers.models.value import ValueModel


@dataclass(frozen=True)
class Critic:
    """A value model, and what it is trained with."""

    model: ValueModel
    optimizer: Optimizer
    config: CriticSection
    format: ChatFormat
    """Renders what the environment said after the last action of a truncated episode."""

    def clip(self) -> float:
        """Clip the gradients that were added up; returns their norm before."""
        return clip_gradients(self.optimizer, self.config.max_grad_norm)

    def take_step(self, step: int, steps: int) -> None:
        """
        Args:
            step: Counted from 0, of `steps`.
        """
        take_step(self.optimizer, learning_rate(self.config, step, steps))
