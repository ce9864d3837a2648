"""`RunConfig`: everything a run depends on, refused early, before anything heavy loads."""

import datetime
from collections import Counter
from typing import Annotated, Any, Self

import tomli_w
from pydantic import Field, model_validator

from ludus.agents.engines.config import EngineSection
from ludus.tools.section import Section
from ludus.trainers.config.adapter import AdapterSection
from ludus.trainers.config.critic import CriticSection
from ludus.trainers.config.distillation import DistillationSection
from ludus.trainers.config.environment import EnvironmentSection, MixtureSection, RolloutSection
from ludus.trainers.config.evaluation import EvaluationSection, ValidationSection
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.model import ModelSection
from ludus.trainers.config.opponents import LEAGUE, OpponentsSection
from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.config.preferences import PreferencesSection
from ludus.trainers.config.reward_model import RewardModelSection
from ludus.trainers.config.rft import RftSection
from ludus.trainers.config.scorers import SUCCESS, ScorerSection
from ludus.trainers.config.sft import SftSection
from ludus.trainers.config.trust import IN_BFLOAT16, TrustSection
from ludus.trainers.config.values import Count


class RunSection(Section):
    """Settings of the run as a whole."""

    name: Annotated[str, Field(min_length=1, pattern=r"^\w[\w.-]*$")] = "run"
    """What the run is called; `ludus train` writes it to `runs/NAME`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides everything random in the run: tasks, order of batches, sampled tokens."""
    day: datetime.date | None = None
    """What chat templates that tell the date take for today, such as 2026-02-28; if not given, the day on
    which the run begins, also where it is resumed later."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads that torch computes with; another number may round differently. Small models gain little from a
    second one and lose much when another process wants its core: threads that wait for each other spin."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes among which episodes and gradients are dealt out, each with `threads` threads; as many as
    there are cores are the fastest on a CPU. Another number rounds differently."""


class CheckpointSection(Section):
    """When the training state is saved."""

    every: Count = 20
    """Steps between two checkpoints, in every phase that trains."""
    keep: Count = 2
    """How many of the last checkpoints stay on disk."""


class RunConfig(Section):
    """The configuration of one run: what `config.toml` holds."""

    run: RunSection = RunSection()
    """The run as a whole."""
    environment: EnvironmentSection | None = None
    """What the agent is trained on."""
    environments: list[MixtureSection] = Field(default_factory=list)
    """Several environments, in place of `[environment]`."""
    model: ModelSection = ModelSection()
    """The policy's model."""
    adapter: AdapterSection | None = None
    """What is trained in the place of all its weights."""
    sft: SftSection = SftSection()
    """Priming on demonstrations."""
    rft: RftSection = RftSection()
    """Rejection sampling, after priming."""
    preferences: PreferencesSection = PreferencesSection()
    """Training on pairs of replies, between rejection sampling and GRPO."""
    grpo: GrpoSection = GrpoSection()
    """Training on rewards."""
    trust: TrustSection = TrustSection()
    """What stops a run whose numbers no longer mean what they should."""
    critic: CriticSection | None = None
    """The value model of `grpo.credit = "gae"`."""
    distillation: DistillationSection | None = None
    """The teacher of `grpo.credit = "teacher"`."""
    reward_model: RewardModelSection | None = None
    """A reward model, in the place of a policy."""
    opponents: OpponentsSection | None = None
    """Who sits on the other seats of games while training."""
    scorers: list[ScorerSection] = Field(default_factory=list)
    """Models that add a term to the reward of training episodes."""
    rollout: RolloutSection = RolloutSection()
    """How training episodes are played."""
    engine: EngineSection = EngineSection()
    """What computes completions."""
    evaluation: EvaluationSection = EvaluationSection()
    """The evaluations before and after training on rewards."""
    validation: ValidationSection = ValidationSection()
    """Evaluation while training."""
    checkpoint: CheckpointSection = CheckpointSection()
    """What a killed run resumes from."""

    @model_validator(mode="before")
    @classmethod
    def _limits_in_bfloat16(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        model, trust = values.get("model"), values.get("trust", {})
        dtype = model.get("dtype") if isinstance(model, dict) else getattr(model, "dtype", "")
        given = trust.model_dump(exclude_unset=True) if isinstance(trust, TrustSection) else trust
        if dtype != "bfloat16" or not isinstance(given, dict):
            return values
        return {**values, "trust": IN_BFLOAT16 | given}

    @model_validator(mode="after")
    def _environments(self) -> Self:
        if self.environment is not None and self.environments:
            raise ValueError(
                "[environment] is for one environment and [[environments]] for several; give one of the two"
            )
        if not self.played:
            self._refuse_without_environment()
            return self
        name, times = Counter(section.title for section in self.played).most_common(1)[0]
        if times > 1:
            raise ValueError(
                f'[[environments]]: {times} of them are called "{name}", so their figures could not be told '
                "apart; give each a name of its own"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.engine.is_trainable and (self.sft.steps or any(self.after_priming.values())):
            *others, last = (f"{key} = 0" for key in ("sft.steps", *self.after_priming))
            raise ValueError(
                f'engine.kind = "{self.engine.kind}" plays with weights of its own, which training would '
                f"not change: take the embedded engine, or evaluate only ({', '.join(others)} and {last})"
            )
        if self.rollout.sampling(1.0).is_truncated and not self.engine.records_kept:
            raise ValueError(
                f'rollout.top_p, top_k and min_p leave ids out, and engine.kind = "{self.engine.kind}" does '
                "not tell which, so training would go by another distribution than the one sampled from: "
                "take the embedded engine, or drop them"
            )
        if self.reward_model is not None:
            self._refuse_beside_reward_model(self.reward_model)
        if self.adapter is not None:
            self._refuse_useless_adapter()
        self._refuse_pages_without_gpu()
        self._refuse_useless_opponents()
        self._refuse_useless_scorers()
        self._refuse_useless_teacher()
        if self.grpo.credit == "gae" and self.critic is None:
            raise ValueError(
                'grpo.credit = "gae" needs a value model; add [critic], whose kind is "head" or "model", or '
                "take another credit"
            )
        if self.run.workers > 1 and (self.critic is not None or not self.model.device.startswith("cpu")):
            what = "a value model" if self.critic is not None else f"model.device = {self.model.device}"
            raise ValueError(
                f"run.workers = {self.run.workers} deal out the work on a CPU, without a value model; with "
                f"{what}, drop run.workers"
            )
        if self.critic is not None and self.grpo.credit != "gae":
            raise ValueError(
                f'[critic] is a value model, which grpo.credit = "{self.grpo.credit}" does without; take '
                'grpo.credit = "gae", or drop [critic]'
            )
        if self.critic is not None and self.critic.lead_steps >= max(1, self.grpo.steps):
            raise ValueError(
                f"critic.lead_steps = {self.critic.lead_steps} leaves the policy none of grpo.steps = "
                f"{self.grpo.steps}; lower the one or raise the other"
            )
        if self.grpo.overlong_tokens > self.rollout.max_tokens:
            raise ValueError(
                f"grpo.overlong_tokens = {self.grpo.overlong_tokens} is more than rollout.max_tokens = "
                f"{self.rollout.max_tokens}: every completion would be penalised, even an empty one; "
                "make it a fraction of max_tokens"
            )
        if self.validation.every and not self.grpo.steps:
            raise ValueError(
                f"validation.every = {self.validation.every} counts GRPO steps, but grpo.steps = 0 leaves "
                "GRPO out; set validation.every and patience to 0, or drop [validation]"
            )
        if self.grpo.steps and self.grpo.group_size == 1:
            for section in self.played:
                if section.curriculum is not None and section.curriculum.kind == "learnability":
                    raise ValueError(
                        f'{section.title}: curriculum.kind = "learnability" draws levels by their share of '
                        'groups that are not flat, and with grpo.group_size = 1 all are: take "success", '
                        "or larger groups"
                    )
        if self.validation.every and self.validation.samples > 1 and self.evaluation.temperature == 0:
            raise ValueError(
                f"validation.samples = {self.validation.samples} at evaluation.temperature = 0 would all be "
                "the same; give a temperature above 0, or take samples = 1"
            )
        return self

    def _refuse_beside_reward_model(self, section: RewardModelSection) -> None:
        if self.sft.steps or self.rft.iterations or self.preferences.steps or self.grpo.steps:
            raise ValueError(
                "[reward_model] is trained in a run of its own: set sft.steps, rft.iterations, "
                "preferences.steps and grpo.steps to 0, and name the model that they trained in model.path"
            )
        if self.model.path == "small":
            raise ValueError(
                '[reward_model] goes on from a model that was trained, and model.path = "small" makes a '
                "random one; name one in model.path, such as runs/NAME/models/final"
            )
        if self.adapter is not None or self.model.quantize != "none":
            what = "[adapter]" if self.adapter is not None else "model.quantize"
            raise ValueError(f"{what} is for policies, and a reward model is trained whole; drop it")
        if section.plays and not self.played:
            raise ValueError(
                'reward_model.kind = "process" without data labels the steps of episodes that the policy '
                "plays, and there is no [environment]; add one, or name labelled steps in reward_model.data"
            )
        if self.run.workers > 1 and not section.plays:
            raise ValueError(
                f"run.workers = {self.run.workers} deal out episodes, and a reward model with data plays "
                "none; drop it"
            )

    def _refuse_useless_adapter(self) -> None:
        if self.model.path == "small":
            raise ValueError(
                '[adapter] leaves the model\'s own weights as they are, and model.path = "small" makes '
                "random ones; name a trained model in model.path, or drop [adapter]"
            )
        if not self.model.train_embeddings:
            raise ValueError(
                "model.train_embeddings = false is for training without [adapter], which leaves the "
                "embeddings as they are anyway; drop it"
            )
        if not (self.sft.steps or any(self.after_priming.values())):
            *others, last = ("sft.steps", *self.after_priming)
            raise ValueError(
                f"[adapter] is trained by nothing, as {', '.join(others)} and {last} are 0; raise one of "
                "them, or drop [adapter]"
            )

    def _refuse_pages_without_gpu(self) -> None:
        tables: dict[str, OptimizerSection | None] = {
            "sft": self.sft,
            "rft": self.rft,
            "preferences": self.preferences,
            "grpo": self.grpo,
            "critic": self.critic,
            "reward_model": self.reward_model,
        }
        for name, table in tables.items():
            if table is None or not table.optimizer.startswith("paged"):
                continue
            if not self.model.device.startswith("cuda"):
                raise ValueError(
                    f'{name}.optimizer = "{table.optimizer}" moves its state between a GPU and the host, and '
                    f'model.device = "{self.model.device}" is no GPU; take "{table.optimizer[6:]}"'
                )

    def _refuse_useless_teacher(self) -> None:
        section, grpo, sampling = self.distillation, self.grpo, self.rollout.sampling(1.0)
        if section is None:
            if grpo.credit == "teacher":
                raise ValueError(
                    'grpo.credit = "teacher" needs a teacher; add [distillation] with the teacher\'s folder, '
                    "name or server, or take another credit"
                )
            return
        if grpo.credit != "teacher":
            raise ValueError(
                f'[distillation] names a teacher, whom grpo.credit = "{grpo.credit}" does not ask; take '
                'grpo.credit = "teacher", or drop [distillation]'
            )
        if sampling.is_truncated:
            raise ValueError(
                "rollout.top_p, top_k and min_p leave ids out, and a teacher judges the whole distribution; "
                "drop them, or [distillation]"
            )
        if section.is_served and self.rollout.temperature != 1:
            raise ValueError(
                f"rollout.temperature = {self.rollout.temperature:g}, but the teacher {section.teacher} is a "
                "server, whose log-probabilities are those at temperature 1; take temperature = 1, or name "
                "the teacher's folder"
            )
        if grpo.overlong_tokens:
            raise ValueError(
                f"grpo.overlong_tokens = {grpo.overlong_tokens} lowers what an episode earns, which "
                'grpo.credit = "teacher" does not look at; drop it'
            )
        if section.top_k and (grpo.correction != "none" or grpo.process):
            key = "process" if grpo.process else "correction"
            raise ValueError(
                f"grpo.{key} is about advantages, of which distillation.top_k = {section.top_k} leaves none: "
                f"the divergence itself is descended; drop grpo.{key}, or top_k"
            )

    def _refuse_useless_opponents(self) -> None:
        if self.opponents is None:
            if self.grpo.advantage == "role":
                raise ValueError(
                    'grpo.advantage = "role" compares with what a seat of a game earned before, and without '
                    "[opponents] there are no seats; add it, or take another advantage"
                )
            return
        if not (self.rft.iterations or self.preferences.is_online or self.grpo.steps):
            raise ValueError(
                "[opponents] are played against while training on rewards, and rft.iterations and grpo.steps "
                "are 0; raise one of them, or drop [opponents]"
            )
        if self.engine.kind != "embedded":
            raise ValueError(
                f"[opponents] include past checkpoints with engines of their own in this process, and "
                f'engine.kind = "{self.engine.kind}" is there once: take the embedded engine'
            )
        earlier = "rft.iterations" if self.rft.iterations else "preferences.steps"
        if (self.rft.iterations or self.preferences.is_online) and LEAGUE in self.opponents.weights:
            raise ValueError(
                f"opponents.weights.league: the league grows with the steps of GRPO, and {earlier} come "
                "before; drop one of the two"
            )
        if self.grpo.advantage == "reinforce_pp":
            raise ValueError(
                'grpo.advantage = "reinforce_pp" compares with the mean of the batch, in which the seats of '
                '[opponents] are mixed: take "role" or "reinforce_pp_baseline"'
            )
        for section in self.played:
            if section.curriculum is not None:
                raise ValueError(
                    f"{section.title}: a curriculum makes an environment's own opponent stronger, in whose "
                    "place [opponents] play; drop one of the two"
                )

    def _refuse_useless_scorers(self) -> None:
        if not self.scorers:
            return
        name, times = Counter(scorer.name for scorer in self.scorers).most_common(1)[0]
        if times > 1 or name == SUCCESS:
            raise ValueError(f'[[scorers]]: "{name}" is taken; give each a name of its own')
        if self.rft.iterations or not self.grpo.steps:
            raise ValueError(
                "[[scorers]] add to the reward of GRPO, with rft.iterations = 0 and grpo.steps above 0; drop "
                "them, or what is in their way"
            )
        if self.grpo.credit == "teacher" and any(scorer.weight for scorer in self.scorers):
            raise ValueError(
                '[[scorers]] add to what an episode earns, which grpo.credit = "teacher" does not look at; '
                "take weight = 0, which only measures, or drop them"
            )
        if self.engine.kind == "vllm" and any(
            scorer.judge is not None and scorer.judge.engine.kind == "vllm" for scorer in self.scorers
        ):
            raise ValueError(
                'engine.kind = "vllm" is in this process once, for the policy; start a server for the judge, '
                "and name its URL"
            )

    def _refuse_without_environment(self) -> None:
        """Data alone is enough to fine-tune a model that is there already, or to train it on preferences."""
        if self.reward_model is not None:
            return
        if not (self.sft.data or self.preferences.data):
            raise ValueError(
                "what should the agent be trained on? Add [environment] with an id, [[environments]] for "
                "several, or sft.data or preferences.data to train on data alone"
            )
        if self.sft.demonstrates:
            raise ValueError(
                f"sft.steps = {self.sft.steps} primes on demonstrations, and there is no [environment] to "
                "show them in; add one, or leave priming out with sft.steps = 0"
            )
        if self.model.path == "small":
            raise ValueError(
                'model.path = "small" builds a tokenizer from an environment\'s text, and there is no '
                "[environment]; add one, or name a model in model.path"
            )
        for key, count in self.after_priming.items():
            if count and not (key == "preferences.steps" and self.preferences.data):
                raise ValueError(
                    f"there is no [environment] whose rewards could be trained on; add one, or train on data "
                    f"alone with {key} = 0"
                )

    @property
    def after_priming(self) -> dict[str, int]:
        """How long each phase trains that comes after priming, by its key, in order; 0 leaves it out."""
        return {
            "rft.iterations": self.rft.iterations,
            "preferences.steps": self.preferences.steps,
            "grpo.steps": self.grpo.steps,
        }

    @property
    def played(self) -> list[EnvironmentSection]:
        """The environments, one or several."""
        return [self.environment] if self.environment is not None else [*self.environments]

    def to_toml(self) -> str:
        """The whole configuration, defaults included; `load_config` reads an equal configuration back."""
        values = self.model_dump(exclude_none=True)
        for several in ("environments", "scorers"):
            if not values[several]:
                del values[several]
        return tomli_w.dumps(values)
