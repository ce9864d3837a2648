"""`plan`: what a run takes at most in each of its phases, and of what that consists."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ludus.agents.adapters.files import base_quantization
from ludus.agents.engines.schedule import context_of
from ludus.trainers.batches.pairs import Pair
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError
from ludus.trainers.mixture import mixture_of
from ludus.trainers.models.forward import reach
from ludus.trainers.models.precision import gradient_dtype
from ludus.trainers.plan import rows as made
from ludus.trainers.plan.ledger import Ledger
from ludus.trainers.plan.models import Source, source_of, without_numbers
from ludus.trainers.plan.phases import (
    ACTIVATIONS,
    CACHE,
    GRADIENTS,
    LOGITS,
    MEMBERS,
    Bytes,
    Models,
    most_members,
    seats_of_models,
)
from ludus.trainers.plan.process import process_bytes
from ludus.trainers.plan.rows import Rows
from ludus.trainers.run.policy import initial_model

PROCESS, FILE, PIECES = "process", "file of the weights", "kept in pieces"
_OF_EACH_WORKER = (PROCESS, ACTIVATIONS, LOGITS, CACHE, MEMBERS, PIECES)
_PIECES = 0.55
"""Of what layers and logits take, how much more a C library keeps that was freed between blocks still in use:
measured with glibc 2.36, which seldom gives such a piece to a block of the same size."""


@dataclass(frozen=True)
class PhaseMemory:
    """What a phase takes when that is most, in bytes by part."""

    name: str
    parts: Bytes

    @cached_property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class MemoryPlan:
    phases: tuple[PhaseMemory, ...]

    @cached_property
    def run(self) -> PhaseMemory:
        """That of the phase that takes most: each gives back what it took."""
        most = max(self.phases, key=lambda phase: phase.total)
        return PhaseMemory("run", most.parts)


@dataclass(frozen=True)
class Work:
    """What a run computes, found once for all its plans."""

    source: Source
    process: int
    """Bytes; see `process_bytes`. 0 on a GPU, whose memory is another."""
    context: int
    """The most tokens of a row."""
    fine_tuned: Rows = ()
    """A batch of priming."""
    sampled: Rows = ()
    """The episodes of a step that samples, in groups."""
    preferred: Sequence[Pair] = ()
    """A batch of preferences."""


def work_of(config: RunConfig) -> Work:
    """
    Raises:
        UserError: model, tokenizer, environment or data cannot be used.
    """
    source = source_of(initial_model(config, Path("runs") / config.run.name))
    _refuse_uncounted(config, source)
    work = _rows_of(config, source)
    if not config.model.device.startswith("cpu"):
        return work
    process = process_bytes(config, source, lambda *run: plan(run[0], _rows_of(*run)).run.total)
    return replace(work, process=process)


def _rows_of(config: RunConfig, source: Source) -> Work:
    mixture = mixture_of(config)
    policy = without_numbers(source, config, Ledger())
    context = context_of(policy.model, reach(policy.model), config.engine.max_context or None)
    fine_tuned: Rows = ()
    sampled: Rows = ()
    if config.sft.steps:
        fine_tuned = made.fine_tuned_on(config, policy, mixture)
    if mixture.members:
        groups, size = _groups(config)
        sampled = made.sampled(config, policy, mixture, groups, size, context)
    preferred = made.preferred(config, policy, sampled) if config.preferences.steps else ()
    return Work(source, 0, context, fine_tuned, sampled, preferred)


def _groups(config: RunConfig) -> tuple[int, int]:
    """How many starts a step plays, and episodes of each."""
    if config.preferences.is_online and not config.grpo.steps:
        return config.preferences.tasks, config.preferences.samples
    if config.rft.iterations and not config.grpo.steps:
        return config.rft.tasks, config.rft.samples
    return config.grpo.groups, config.grpo.group_size


def _refuse_uncounted(config: RunConfig, source: Source) -> None:
    """Kernels of bitsandbytes read memory, which tensors without numbers do not have; nor is vLLM run."""
    if config.reward_model is not None:
        raise ConfigError(
            "[reward_model]: what it takes is not counted; fine-tuning the same model takes more, so plan "
            "with [sft] in its place"
        )
    if config.engine.kind != "embedded":
        raise ConfigError(
            f'engine.kind = "{config.engine.kind}": what it takes is not counted; plan with the embedded '
            "engine, and see the rows for weights and training"
        )
    sections = {
        "sft": config.sft,
        "rft": config.rft,
        "preferences": config.preferences,
        "grpo": config.grpo,
        "critic": config.critic,
    }
    quantized: str = config.model.quantize
    if quantized == "none" and source.folder != source.base:
        quantized = base_quantization(source.folder)
    bits: dict[str, str] = {"model.quantize": quantized} if quantized != "none" else {}
    bits |= {
        f"{name}.optimizer": own.optimizer
        for name, own in sections.items()
        if own is not None and own.optimizer not in ("adamw", "muon")
    }
    for key, value in bits.items():
        raise ConfigError(
            f'{key} = "{value}": what bitsandbytes takes is not counted; plan without it, which takes more'
        )


def plan(config: RunConfig, work: Work) -> MemoryPlan:
    """The phases of a run, in order.

    Raises:
        UserError: the model cannot be adapted as configured.
    """
    ledger = Ledger()
    models = Models(ledger, config, without_numbers(work.source, config, ledger))
    weights = models.policy.model.parameters()
    trained = sum(p.numel() * gradient_dtype(p).itemsize for p in weights if p.requires_grad)

    def whole(name: str, parts: Bytes) -> PhaseMemory:
        """With the process, and those of the other workers."""
        workers, counted = config.run.workers, {PROCESS: work.process, **parts}
        if config.model.device.startswith("cpu"):
            counted[PIECES] = round(_PIECES * (parts.get(ACTIVATIONS, 0) + parts.get(LOGITS, 0)))
        counted = {
            part: size * workers if part in _OF_EACH_WORKER else size for part, size in counted.items()
        }
        if workers > 1 and name not in ("load", "evaluation"):
            counted[GRADIENTS] = counted.get(GRADIENTS, 0) + (workers - 1) * trained
        return PhaseMemory(name, {part: size for part, size in counted.items() if size})

    loaded = whole("load", {**ledger.live, FILE: work.source.file_bytes})
    return MemoryPlan((loaded, *(whole(name, parts) for name, parts in _phases(models, work))))


def _phases(models: Models, work: Work) -> Iterator[tuple[str, Bytes]]:
    config = models.config
    if config.sft.steps:
        weight = config.sft.observations_weight
        yield "priming", models.fine_tuning(config.sft, work.fine_tuned, weight)
    if work.sampled and config.evaluation.episodes:
        episodes = config.evaluation.episodes * config.evaluation.samples
        yield "evaluation", models.sampling(work.sampled, episodes, config.evaluation.temperature)
    if config.rft.iterations:
        episodes = config.rft.tasks * config.rft.samples
        with models.optimizing(config.rft):
            seats = seats_of_models(config, 0)
            yield "rejection", models.sampling(work.sampled, episodes, config.rollout.temperature, seats)
        yield "fine-tuning", models.fine_tuning(config.rft, work.sampled[: config.rft.batch_episodes])
    if config.preferences.steps:
        section = config.preferences
        with models.preferring() as optimizer:
            if section.is_online:
                episodes = section.tasks * section.samples
                yield "pairs", models.sampling(work.sampled, episodes, config.rollout.temperature)
            yield "preferences", models.comparing(optimizer, work.preferred)
    if config.grpo.steps:
        episodes = config.grpo.groups * config.grpo.group_size
        with models.optimizing(config.grpo) as optimizer, models.beside() as critic:
            seats = seats_of_models(config, most_members(config))
            yield "rollout", models.sampling(work.sampled, episodes, config.rollout.temperature, seats)
            yield "scoring", models.scoring(critic, work.sampled)
            yield "update", models.update(optimizer, critic, work.sampled)
