"""`RunConfig`: everything a run depends on, read from TOML and refused early, before anything heavy loads."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

import gymnasium
import tomli_w
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from ludus.agents.engines.config import EngineSection
from ludus.agents.rollout import EnvironmentSpec, Limits
from ludus.tools.section import Section
from ludus.tools.wording import did_you_mean
from ludus.trainers.advantages import registry as advantages
from ludus.trainers.errors import ConfigError
from ludus.trainers.losses import registry as losses

Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Schedule = Literal["constant", "linear", "cosine"]
if TYPE_CHECKING:
    LossName = str
else:
    LossName = Literal[tuple(losses.LOSSES)]

_MOST_ERRORS = 3
"""How many mistakes in a configuration an error reports."""


class RunSection(Section):
    """Settings of the run as a whole."""

    name: Annotated[str, Field(min_length=1, pattern=r"^\w[\w.-]*$")] = "run"
    """What the run is called; `ludus train` writes it to `runs/NAME`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides everything random in the run: tasks, order of batches, sampled tokens."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads that torch computes with; another number may round differently. Small models gain little from a
    second one and lose much when another process wants its core: threads that wait for each other spin."""


class EnvironmentSection(Section):
    """What the agent is trained on."""

    id: str
    """A Gymnasium id of a language environment, such as `ludus/Arithmetic-v0`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of `gymnasium.make`."""

    @field_validator("id")
    @classmethod
    def _registered(cls, id: str) -> str:
        if ":" in id or id in gymnasium.registry:
            return id  # "module:id" is imported by gymnasium when the environment is made
        raise ValueError(
            f'no environment "{id}" is registered (one of your own is written "module:id")'
            f"{_nearest(id, gymnasium.registry)}"
        )

    @property
    def spec(self) -> EnvironmentSpec:
        return EnvironmentSpec(self.id, self.arguments)


class SmallModelSection(Section):
    """The shape of the model that `path = "small"` builds; see `ludus.agents.small_model.SmallModelShape`."""

    hidden: Count = 128
    """Width of the residual stream."""
    layers: Count = 5
    """Transformer blocks."""
    heads: Count = 4
    """Query heads."""
    kv_heads: Count = 2
    """Key and value heads; a divisor of `heads`."""
    head_dim: Count = 32
    """Width of one head."""
    intermediate: Count = 384
    """Width of the gated feed-forward layer."""
    vocabulary: Count = 512
    """The most ids that the tokenizer may have."""
    max_positions: Count = 4096
    """The longest context, in tokens."""


class ModelSection(Section):
    """The policy's model."""

    path: Annotated[str, Field(min_length=1)] = "small"
    """`small` builds a model and tokenizer of its own from the environment's text; anything else is a folder
    in `transformers`' form or a name on the hub."""
    small: SmallModelSection = SmallModelSection()
    """The shape of the small model."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type of the weights, in training and sampling."""
    device: Annotated[str, Field(min_length=1)] = "cpu"
    """Where torch puts the weights: `cpu`, `cuda`, `cuda:1`."""

    @model_validator(mode="after")
    def _shape_has_a_use(self) -> Self:
        if self.path != "small" and self.small != SmallModelSection():
            raise ValueError(
                f'[model.small] is the shape of path = "small", but path = "{self.path}" brings its own; '
                "drop one"
            )
        return self


class OptimizerSection(Section):
    """AdamW and its learning rate; shared by both phases."""

    learning_rate: Positive = 1e-3
    """The peak, after warm-up."""
    warmup_steps: CountOrNone = 0
    """Steps over which the rate rises linearly from 0."""
    schedule: Schedule = "constant"
    """After warm-up: stay, or fall to 0 at the phase's last step, linearly or along a half cosine."""
    weight_decay: NonNegative = 0.0
    """AdamW's decoupled decay."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this global 2-norm."""
    microbatch_tokens: Count = 1024
    """The most tokens in one forward pass. Bounds memory; results change only by rounding. The default is the
    fastest on a CPU (benchmarks/grpo_step.py); a GPU is faster with more."""


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


class GrpoSection(OptimizerSection):
    """Group relative policy optimisation on the returns of episodes."""

    learning_rate: Positive = 3e-5
    """The peak, after warm-up. A small primed model withstands the default without losing what it has
    learned; where rewards have little noise, several times as much learns faster."""

    steps: CountOrNone = 100
    """Batches of rollouts; 0 leaves GRPO out."""
    groups: Count = 16
    """Starts per step."""
    group_size: Count = 8
    """Episodes played from each start; the group's mean reward is the baseline."""
    loss: LossName = Field(default="grpo", description=losses.described())
    """The policy loss; the table in [Losses](losses.md) has them all."""
    advantage: Literal["default", advantages.AdvantageName] = Field(
        default="default", description=f"`default`: the loss's own; {advantages.described()}."
    )
    """What an episode's return is compared with; `default` is the loss's own choice, see
    [Losses](losses.md)."""
    updates_per_batch: Count = 1
    """The batch's groups are split into this many minibatches, with one optimiser step on each."""
    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The ratio is clipped below at 1 - clip_low."""
    clip_high: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    """The ratio is clipped above at 1 + clip_high."""
    kl_coefficient: NonNegative = 0.0
    """Weight of the KL divergence to the primed model; 0 leaves it out."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """The estimator of the KL divergence, each in the form that has its gradient."""
    dynamic_sampling: bool = False
    """Replace groups in which every episode earned the same: nothing can be learned from them. For the losses
    that admit it."""
    max_resamples: Count = 2
    """How many times at most a step draws further groups for dynamic sampling."""
    overlong_tokens: CountOrNone = 0
    """The soft overlong penalty falls from 0 to -1 over this many tokens before `rollout.max_tokens`; 0
    leaves it out. For the losses that admit it."""
    mismatch_mean_limit: Positive = 1e-3
    """The run stops when engine and trainer disagree by more than this about the log-probabilities of sampled
    tokens, in nats, on average. Fits float32; a half-precision model needs more."""
    mismatch_max_limit: Positive = 0.1
    """The same for the worst single token."""
    collapse_limit: NonNegative = 6.0
    """The run stops when the mean reward of the last two steps lies more than this many standard errors below
    that of the best step, since its updates then undo what was learned; 0 leaves the check out."""
    fault_share_limit: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The run stops when more than this share of a step's episodes faulted."""
    store_every: Count = 20
    """Episodes are stored every so many steps, and always at the first and the last step."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.steps == 0:
            return self
        if self.group_size == 1:
            raise ValueError(
                "group_size = 1: an episode is compared with its group's mean, so alone it has advantage 0 "
                "and nothing is learned; use 2 or more, 8 is usual"
            )
        if self.groups % self.updates_per_batch:
            raise ValueError(
                f"updates_per_batch = {self.updates_per_batch} does not divide groups = {self.groups}: "
                "minibatches hold whole groups and the same number of them; choose a divisor"
            )
        chosen = {
            name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default
        }
        if refused := losses.unadmitted(self.loss, chosen):
            option, admitting = refused[0], ", ".join(f'"{name}"' for name in refused[1])
            raise ValueError(
                f'{option} = {getattr(self, option)} does not go with loss = "{self.loss}", only with '
                f"{admitting}; drop it or change the loss"
            )
        return self


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


def load_config(path: str | Path, overrides: Mapping[str, str] | None = None) -> RunConfig:
    """Read a configuration.

    Args:
        path: A TOML file.
        overrides: Values as typed on a command line by dotted key, such as `{"grpo.learning_rate": "3e-4"}`;
            TOML syntax, with the quotes around a string left out.

    Raises:
        ConfigError: one line that names the key, what is wrong with it and what would be right.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        nearby = _configurations(path.parent) or _configurations(Path("configs"))
        there = f"; there is {', '.join(nearby)}" if nearby else ""
        raise ConfigError(f"{path}: no such configuration file{there}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a configuration ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    for key, text in (overrides or {}).items():
        _override(values, key, text)
    return parse_config(values, source=str(path))


def parse_config(values: Mapping[str, Any], source: str = "configuration") -> RunConfig:
    """Validate a configuration given as nested tables.

    Raises:
        ConfigError: as `load_config`.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as invalid:
        # An unknown table goes first: a misspelt name is often why another table is missing.
        errors = sorted(invalid.errors(), key=lambda error: error["type"] != "extra_forbidden")
        told = "; also, ".join(map(_explain, errors[:_MOST_ERRORS]))
        more = f" (and {len(errors) - _MOST_ERRORS} more)" if len(errors) > _MOST_ERRORS else ""
        raise ConfigError(f"{source}: {told}{more}") from None


def _override(values: dict[str, Any], key: str, text: str) -> None:
    *sections, name = key.split(".")
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f'--{key}: "{section}" is a value, not a section that could hold "{name}"')
    table[name] = text if _annotation(key) is str else _toml_value(text)


def _configurations(folder: Path) -> list[str]:
    """The TOML files of a folder, except pyproject.toml, which does not configure a run."""
    return sorted(str(file) for file in folder.glob("*.toml") if file.name != "pyproject.toml")


def _toml_value(text: str) -> Any:
    """`text` as a TOML value, or as the string that it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _annotation(key: str) -> Any:
    """The type of a field by its dotted key; None if there is no such field."""
    kind: Any = RunConfig
    for part in key.split("."):
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)) or part not in kind.model_fields:
            return None
        kind = kind.model_fields[part].annotation
    return kind


def _explain(error: ErrorDetails) -> str:
    """One line for one of pydantic's errors."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    match error["type"]:
        case "extra_forbidden":
            parent = ".".join(location[:-1])
            section = _annotation(parent) if parent else RunConfig
            return f'unknown key "{key}"{_nearest(location[-1], section.model_fields)}'
        case "missing":
            return f'"{key}" is missing and has no default; add it'
        case "literal_error":
            choices, given = [str(choice) for choice in get_args(_annotation(key))], error["input"]
            known = ", ".join(choices)
            return f'{key} = "{given}" is not one of {known}{_nearest(given, choices, listed=True)}'
        case "value_error":
            return (f"{key}: " if key else "") + str(error["ctx"]["error"])
        case _:
            return f"{key} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _nearest(name: object, choices: Any, listed: bool = False) -> str:
    """The choice that was probably meant or, if none is similar and the message has not `listed` them, all of
    them."""
    everything = f"there is {', '.join(choices)}" if len(choices) < 30 and not listed else ""
    hint = did_you_mean(name, choices, otherwise=everything)
    return f"; {hint}" if hint else ""
