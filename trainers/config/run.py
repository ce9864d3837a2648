"""`RunConfig`: everything a run depends on, refused early, before anything heavy loads."""

from typing import Annotated, Self

import tomli_w
from pydantic import Field, model_validator

from ludus.agents.engines.config import EngineSection
from ludus.tools.section import Section
from ludus.trainers.config.environment import EnvironmentSection, RolloutSection
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.model import ModelSection
from ludus.trainers.config.sft import SftSection
from ludus.trainers.config.values import Count, CountOrNone, NonNegative


class RunSection(Section):
    """Settings of the run as a whole."""

    name: Annotated[str, Field(min_length=1, pattern=r"^\w[\w.-]*$")] = "run"
    """What the run is called; `ludus train` writes it to `runs/NAME`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides everything random in the run: tasks, order of batches, sampled tokens."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads that torch computes with; another number may round differently. Small models gain little from a
    second one and lose much when another process wants its core: threads that wait for each other spin."""


class EvaluationSection(Section):
    """The evaluations before and after GRPO, on the same held-out tasks."""

    episodes: CountOrNone = 512
    """Held-out tasks, distinct by content and never trained on; 0 leaves evaluation out. Where there are few
    distinct tasks, at most half of what training draws is held out."""
    first_seed: Annotated[int, Field(ge=0, lt=2**62)] = 2**32
    """The tasks are those of the seeds from this one on. Training seeds are below 2**32."""
    temperature: NonNegative = 0.0
    """0 is greedy."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.first_seed < 2**32:
            raise ValueError(
                f"first_seed = {self.first_seed} lies among the training seeds, which are below 2**32 = "
                f"{2**32}; choose one above"
            )
        return self


class CheckpointSection(Section):
    """When the training state is saved."""

    every: Count = 20
    """Steps between two checkpoints, in both phases."""
    keep: Count = 2
    """How many of the last checkpoints stay on disk."""


class RunConfig(Section):
    """The configuration of one run: what `config.toml` holds."""

    run: RunSection = RunSection()
    """The run as a whole."""
    environment: EnvironmentSection
    """What the agent is trained on."""
    model: ModelSection = ModelSection()
    """The policy's model."""
    sft: SftSection = SftSection()
    """Priming on demonstrations."""
    grpo: GrpoSection = GrpoSection()
    """Training on rewards."""
    rollout: RolloutSection = RolloutSection()
    """How training episodes are played."""
    engine: EngineSection = EngineSection()
    """What computes completions."""
    evaluation: EvaluationSection = EvaluationSection()
    """The evaluations before and after GRPO."""
    checkpoint: CheckpointSection = CheckpointSection()
    """What a killed run resumes from."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.engine.is_trainable and (self.sft.steps or self.grpo.steps):
            raise ValueError(
                f'engine.kind = "{self.engine.kind}" plays with weights of its own, which training would '
                "not change: take the embedded engine, or evaluate only (sft.steps = 0 and grpo.steps = 0)"
            )
        if self.grpo.overlong_tokens > self.rollout.max_tokens:
            raise ValueError(
                f"grpo.overlong_tokens = {self.grpo.overlong_tokens} is more than rollout.max_tokens = "
                f"{self.rollout.max_tokens}: every completion would be penalised, even an empty one; "
                "make it a fraction of max_tokens"
            )
        return self

    def to_toml(self) -> str:
        """The whole configuration, defaults included; `load_config` reads an equal configuration back."""
        return tomli_w.dumps(self.model_dump())
