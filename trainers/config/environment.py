"""`[environment]`, `[[environments]]`: what the agent is trained on; `[rollout]`: how episodes are played."""

import re
from typing import Annotated, Any, Self

import gymnasium
from pydantic import Field, field_validator, model_validator

from ludus.agents.rollout import EnvironmentSpec, Limits
from ludus.tools.section import Section
from ludus.trainers.config.curriculum import CurriculumSection
from ludus.trainers.config.values import Count, Positive, nearest


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
    top_p: float = 1.0
    """Must be 1 (off): what was drawn from a truncated distribution cannot be trained on."""
    top_k: int = 0
    """Must be 0 (off), as `top_p`."""
    min_p: float = 0.0
    """Must be 0 (off), as `top_p`."""
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
    def _untruncated(self) -> Self:
        for name, off in (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0)):
            if getattr(self, name) != off:
                raise ValueError(
                    f"{name} = {getattr(self, name)} cannot be trained with: tokens would be drawn from a "
                    "truncated, renormalised distribution, whose support is not recorded, so the trainer's "
                    f"log-probabilities would be of another policy and the ratio wrong; leave {name} at {off}"
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

    @property
    def limits(self) -> Limits:
        return Limits(turns=self.max_turns, tokens=self.max_episode_tokens, step_seconds=self.step_seconds)
