"""`[environment]`, `[[environments]]`: what the agent is trained on; `[rollout]`: how episodes are played."""

import re
from typing import Annotated, Any, Self

import gymnasium
from pydantic import Field, field_validator, model_validator

from ludus.agents.engines.base import Sampling
from ludus.agents.rollout import EnvironmentSpec, Limits
from ludus.tools.section import Section
from ludus.trainers.config.curriculum import CurriculumSection
from ludus.trainers.config.values import Count, CountOrNone, Positive, nearest


class EnvironmentSection(Section):
    """What the agent is trained on."""

    id: str
    """A Gymnasium id of a language environment, such as `ludus/Arithmetic-v0`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of `gymnasium.make`."""
    curriculum: CurriculumSection | None = None
    """Levels of difficulty, one table for each environment that has them."""

    @field_validator("id")
    @classmethod
    def _registered(cls, id: str) -> str:
        if ":" in id or id in gymnasium.registry:
            return id  # "module:id" is imported by gymnasium when the environment is made
        raise ValueError(
            f'no environment "{id}" is registered (one of your own is written "module:id")'
            f"{nearest(id, gymnasium.registry)}"
        )

    @property
    def spec(self) -> EnvironmentSpec:
        return EnvironmentSpec(self.id, self.arguments)

    @property
    def title(self) -> str:
        """What its figures are called: the id without namespace and version."""
        name = re.split("[:/]", self.id)[-1]
        return re.sub(r"\W+", "-", re.sub(r"-v\d+$", "", name))


class MixtureSection(EnvironmentSection):
    """One of several environments that the agent is trained on together. A group is of one environment, drawn
    by weight."""

    name: Annotated[str, Field(pattern=r"^(\w[\w.-]*)?$")] = ""
    """What its figures are called; by default the id without namespace and version."""
    weight: Positive = 1.0
    """Its part of the groups and demonstrations is its weight over the sum of all weights."""

    @property
    def title(self) -> str:
        return self.name or super().title


class RolloutSection(Section):
    """How episodes are played while training."""

    temperature: Positive = 1.0
    """Sampling temperature; the trainer's log-probabilities are taken at the same temperature."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Tokens are drawn among the likeliest whose probabilities, after the temperature, add up to this; 1:
    among all. The ids that each was drawn among are recorded, and training goes by the distribution over
    them."""
    top_k: CountOrNone = 0
    """Tokens are drawn among so many of the likeliest, as with `top_p`; 0: among all."""
    min_p: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Tokens are drawn among those at least this times as probable as the likeliest, as with `top_p`; 0:
    among all."""
    max_tokens: Count = 64
    """The most tokens in one completion; a completion that reaches it is cut off."""
    max_turns: Count = 64
    """The most turns in an episode, in addition to the environment's own limit."""
    max_episode_tokens: Count = 2048
    """The most tokens of context, prompts and completions together; the turn that reaches it is the last."""
    step_seconds: Positive = 60.0
    """The most seconds the environment may take for one reset or step; taking longer is a fault of the
    environment."""
    concurrency: Count = 64
    """Episodes played at the same time."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.top_k == 1:
            raise ValueError(
                "top_k = 1 leaves only the likeliest token, so that all episodes of a group are the same and "
                "nothing is learned; take more, 20 is usual, or 0 for all"
            )
        if self.max_tokens > self.max_episode_tokens:
            raise ValueError(
                f"max_tokens = {self.max_tokens} of one completion is more than max_episode_tokens = "
                f"{self.max_episode_tokens}, which bounds the whole episode; raise the latter"
            )
        return self

    @property
    def max_sampled_tokens(self) -> int:
        """The most tokens that an episode can sample."""
        return min(self.max_tokens * self.max_turns, self.max_episode_tokens)

    def sampling(self, temperature: float) -> Sampling:
        """How completions are sampled, at this temperature."""
        return Sampling(
            max_tokens=self.max_tokens,
            temperature=temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
        )

    @property
    def limits(self) -> Limits:
        return Limits(turns=self.max_turns, tokens=self.max_episode_tokens, step_seconds=self.step_seconds)
