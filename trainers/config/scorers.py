"""`[[scorers]]`: models that add a term to the reward of training episodes."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from ludus.agents.scorers.config import JudgeSection, RewardModelScorerSection
from ludus.tools.section import Section
from ludus.trainers.config.values import CountOrNone, NonNegative

SUCCESS = "success"


class ScorerSection(Section):
    """A model whose scores are a term of the reward, beside the environment's own. What it could not score is
    a fault, which is left out and never counts as 0."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z]\w*$")] = "judge"
    """What the term is called."""
    weight: NonNegative = 1.0
    """What it is multiplied by in the reward. With 0 it is only measured, for others to be held against."""
    gate: str = SUCCESS
    """The rule that multiplies the score: `success`, 1 or 0, or one of the environment's reward terms, summed
    over the turns and kept within 0 and 1; empty: none. Where it is 0, so is the score, and nobody is
    asked."""
    beside: str = SUCCESS
    """What is held against the term: an alarm rings when the term rises while this falls. `success`, one of
    the environment's reward terms, or the name of another scorer; empty: nothing."""
    planted: CountOrNone = 2
    """Pairs of a known-good and a known-bad answer to tasks of each step, which are scored with its episodes:
    an alarm rings when too many bad ones are scored no lower. The good one is that of the environment's
    oracle; 0: none."""
    judge: JudgeSection | None = None
    """A language model that judges by a rubric."""
    reward_model: RewardModelScorerSection | None = None
    """A model that was trained to give rewards."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.judge is None) == (self.reward_model is None):
            raise ValueError(
                f"what scores is one of two; give {self.name} [scorers.judge] with a model and a rubric, or "
                "[scorers.reward_model] with a path"
            )
        if self.beside == self.name:
            raise ValueError(f'beside = "{self.beside}" is the scorer itself; name what it is held against')
        return self
