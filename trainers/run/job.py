"""`train`, the whole job: model, priming, evaluation, rejection sampling, preferences, GRPO, evaluation. What
is already done is skipped."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from ludus.agents.adapters.lora import adapter_terms
from ludus.agents.episode import TrainingSequence
from ludus.agents.formats.base import ChatFormat
from ludus.agents.models import LoadedModel
from ludus.agents.policy import tool_schemas
from ludus.agents.quantization import numbers_in
from ludus.agents.rollout import EnvironmentSpec
from ludus.envs.chat import user
from ludus.trainers.advantages.process import process_of, scorer
from ludus.trainers.advantages.process_model import refuse_other_tokens
from ludus.trainers.algorithms.grpo import train_grpo
from ludus.trainers.algorithms.preferences import Fresh, Stored, train_preferences
from ludus.trainers.algorithms.rft import train_rft
from ludus.trainers.algorithms.sft import demonstrate, fine_tune
from ludus.trainers.config.run import RunConfig
from ludus.trainers.config.values import nearest
from ludus.trainers.curriculum import all_levels
from ludus.trainers.data.preferences import read_preferences
from ludus.trainers.data.read import Reserved
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.listener import Listener, counter, phase
from ludus.trainers.metrics import read_metrics
from ludus.trainers.mixture import Mixture, mixture_of
from ludus.trainers.models.optimizer import rate_factors
from ludus.trainers.opponents import refuse_unplayable
from ludus.trainers.parallel.team import Team
from ludus.trainers.run.critic import load_critic, save_critic
from ludus.trainers.run.directory import (
    begun_on,
    best_folder,
    critic_folder,
    final_folder,
    initial_folder,
    open_run,
    preferred_folder,
    primed_folder,
    rft_folder,
)
from ludus.trainers.run.evaluation import Stage, evaluate
from ludus.trainers.run.league import League, refuse_other_vocabularies
from ludus.trainers.run.own_data import load_data, load_pairs, reserved_tasks
from ludus.trainers.run.policy import initial_model, load_beside, load_policy, run_engine, save_policy
from ludus.trainers.run.reference import Reference
from ludus.trainers.run.reward_model import run_reward_model
from ludus.trainers.scorers import Scorers, refuse_unusable
from ludus.trainers.tasks import HeldOutTasks, TaskStream, hold_out_tasks
from ludus.trainers.teachers.load import load_teacher, refuse_other_teacher
from ludus.trainers.validation import Validation

Rows = Sequence[TrainingSequence]


def train(
    config: RunConfig, directory: str | Path, resume: bool = False, listener: Listener | None = None
) -> Path:
    """Run a configuration from beginning to end, or resume it.

    A finished phase leaves a file behind (`models/primed`, an entry in `evaluation.json`, `models/final`),
    written whole or not at all; a resumed run skips it, continues training from its last checkpoint, and
    ends with the same bits as a run that was never interrupted.

    Args:
        config: What to do.
        directory: The run's folder; its layout is in `docs/architecture.md`.
        resume: Continue the run in the folder.
        listener: Told of every phase and step.

    Returns:
        The run's folder.

    Raises:
        UserError: what went wrong, in one line: `ConfigError`, `RunError`, `CheckpointError`,
            `TrainingDiverged`, `ModelLoadError`.
        KeyboardInterrupt: after Ctrl-C, once the training state is saved.
    """
    with open_run(config, Path(directory), resume) as run:
        day = config.run.day or begun_on(run)
        dated = config.model_copy(update={"run": config.run.model_copy(update={"day": day})})
        _train(dated, run, listener or Listener())
    return run


def _train(config: RunConfig, run: Path, listener: Listener) -> None:
    with computing(config), Team(config) as team:
        mixture = mixture_of(config)
        scorer(config.grpo)  # refused before priming, not after
        if config.opponents is not None:
            refuse_unplayable(mixture, config.opponents)
        refuse_unusable(config, mixture.specs)
        refuse_unknown_term(config, mixture.specs)
        held_out = hold_out_tasks(mixture, config)
        for shortage in held_out.shortages:
            listener.note(
                f"{shortage.environment} has few distinct tasks: {shortage.held_out} of them are held "
                f"out, not {shortage.wanted}, so that about half of what training draws stays its own"
            )

        def evaluate_stage(stage: Stage) -> None:
            evaluate(stage, team, config, run, mixture, held_out.evaluation, listener)

        if config.reward_model is not None:
            run_reward_model(team, config, run, mixture, held_out, listener)
            return
        if not primed_folder(run).exists():
            refuse_without_primed(run)
            prime(team, config, run, mixture, held_out, listener)
        evaluate_stage("primed")
        start = primed_folder(run)
        if config.rft.iterations:
            goes_on = config.preferences.steps or config.grpo.steps
            target = rft_folder(run) if goes_on else final_folder(run)
            if not target.exists():
                run_rft(team, config, run, mixture, held_out, listener, target)
            start = target
        if config.preferences.steps:
            target = preferred_folder(run) if config.grpo.steps else final_folder(run)
            if not target.exists():
                run_preferences(team, config, run, mixture, held_out, listener, start, target)
            start = target
        if config.grpo.steps and not final_folder(run).exists():
            run_grpo(team, config, run, mixture, held_out, listener, start)
        if any(config.after_priming.values()):
            if best_folder(run).exists():
                evaluate_stage("best")
            evaluate_stage("final")


@contextmanager
def computing(config: RunConfig) -> Iterator[None]:
    """Set torch up for a run: its number of threads, and deterministic operators. Restored afterwards.

    New memory is not filled, as torch would do for determinism, since that writes every output of an operator
    twice. The tests of the operators run with memory full of NaN instead.
    """
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic  # type checkers do not know its only attribute
    fill = memory.fill_uninitialized_memory
    if config.model.device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch requires it for determinism
    torch.set_num_threads(config.run.threads)
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        memory.fill_uninitialized_memory = fill


def prime(
    team: Team, config: RunConfig, run: Path, mixture: Mixture, held_out: HeldOutTasks, listener: Listener
) -> None:
    """Make or load the model, fine-tune it on demonstrations or data, save it as `models/primed`."""
    with phase(listener, "model", 0):
        policy = load_policy(initial_model(config, run), config)
        if config.engine.is_trainable:
            run_engine(policy, config).close()  # refused before priming, not after
        Scorers(config).close()  # likewise
        everything = list(policy.model.parameters())
        trained = [parameter for parameter in everything if parameter.requires_grad]
        for section in (config.sft, config.rft, config.preferences, config.grpo):
            rate_factors(policy.model, section)  # refused before priming, not after
        part = "in an adapter" if adapter_terms(policy.model) else "trained"
        told = "" if len(trained) == len(everything) else f", {_size(trained)} of them {part}"
        listener.note(f"model: {config.model.path}, {_size(everything)} parameters{told}")
        refuse_unreadable_calls(policy.format, mixture.specs)  # before priming, not after
        refuse_other_tokens(config.grpo, policy)
        if config.opponents is not None:
            refuse_other_vocabularies(policy, config.opponents)
        if config.critic is not None and (config.critic.path or config.critic.kind == "head"):
            load_critic(policy, config, primed_folder(run))  # refused before priming, not after
        if config.preferences.data:
            read_preferences(config.preferences, policy, Reserved())  # refused before priming, not after
        if config.distillation is not None:
            refuse_other_teacher(policy, config.distillation, config)  # before priming, not after
    if config.sft.steps:
        tasks = TaskStream(mixture, config.run.seed, "sft", held_out.keys)
        if config.sft.data:
            reserved = reserved_tasks([*held_out.evaluation, *held_out.validation], held_out.keys)
            data = load_data(config.sft, policy, reserved, run, listener)
            shown: tuple[Rows, Rows] = (data.train, data.heldout)
        else:
            shown = play_demonstrations(config, policy, tasks, held_out, listener)
        keeps = config.model.path == "small" or adapter_terms(policy.model)
        if keeps and not initial_folder(run).exists():
            save_policy(policy, initial_folder(run))
        torch.manual_seed(config.run.seed)
        with team.computing_with(policy):
            fine_tune(team, policy, *shown, config, run, tasks, listener)
        tasks.close()
    save_policy(policy, primed_folder(run))


def _size(parameters: Sequence[torch.nn.Parameter]) -> str:
    count = sum(numbers_in(parameter) for parameter in parameters)
    return f"{count / 1e6:.1f} million" if count >= 1e5 else f"{count:,}"


def refuse_unreadable_calls(chat_format: ChatFormat, specs: Sequence[EnvironmentSpec]) -> None:
    """
    Raises:
        FormatError: an environment has tools, and the model would call them in no format that is known, or is
            not shown them.
    """
    for spec in specs:
        with closing(spec.make()) as env:
            chat_format.first_prompt([user("?")], tool_schemas(env))


def play_demonstrations(
    config: RunConfig, policy: LoadedModel, tasks: TaskStream, held_out: HeldOutTasks, listener: Listener
) -> tuple[Rows, Rows]:
    """The demonstrator's rows on training tasks and on held-out ones."""
    with phase(listener, "demonstrations", config.sft.demonstrations + len(held_out.demonstrations)):
        count = counter(listener, "demonstrations")
        drawn = tasks.take(config.sft.demonstrations, all_levels(tasks.mixture))
        shown = demonstrate(drawn, policy.format, config, count)
        return shown, demonstrate(held_out.demonstrations, policy.format, config, count)


def refuse_unknown_term(config: RunConfig, specs: Sequence[EnvironmentSpec]) -> None:
    """
    Raises:
        ConfigError: pairs are to be judged by a reward term that no environment has.
    """
    named = config.preferences.by
    if not config.preferences.is_online or named in (known := ["success", "reward"]):
        return
    for spec in specs:
        with closing(spec.make()) as env:
            known += getattr(getattr(env.unwrapped, "rubric", None), "weights", ())
    if named not in known:
        raise ConfigError(f'preferences.by = "{named}" is nothing that is earned{nearest(named, known)}')


def run_rft(
    team: Team,
    config: RunConfig,
    run: Path,
    mixture: Mixture,
    held_out: HeldOutTasks,
    listener: Listener,
    target: Path,
) -> None:
    """Train the primed model by rejection sampling, save it in `target`."""
    policy = load_policy(primed_folder(run), config)
    tasks = TaskStream(mixture, config.run.seed, "rft", held_out.keys)
    with team.computing_with(policy):
        torch.manual_seed(config.run.seed)
        train_rft(team, policy, config, run, tasks, listener)
    tasks.close()
    save_policy(policy, target)


def run_preferences(
    team: Team,
    config: RunConfig,
    run: Path,
    mixture: Mixture,
    held_out: HeldOutTasks,
    listener: Listener,
    start: Path,
    target: Path,
) -> None:
    """Train the model in `start` on preferences, save it in `target`."""
    policy = load_policy(start, config)
    tasks = TaskStream(mixture, config.run.seed, "preferences", held_out.keys)
    with team.computing_with(policy):
        source: Stored | Fresh
        if config.preferences.is_online:
            source = Fresh(team, load_beside(policy, start, config), tasks, config)
        else:
            reserved = reserved_tasks([*held_out.evaluation, *held_out.validation], held_out.keys)
            data = load_pairs(config.preferences, policy, reserved, run, listener)
            source = Stored(team, data, config, run / "reference.json")
        torch.manual_seed(config.run.seed)
        train_preferences(team, policy, source, config, run, tasks, listener)
    tasks.close()
    save_policy(policy, target)


def refuse_without_primed(run: Path) -> None:
    """
    Raises:
        RunError: if training went on from the primed model, which is gone.
    """
    if any(line["phase"] != "sft" for line in read_metrics(run)):
        raise RunError(
            f"{primed_folder(run)} is gone: the model from which training went on. Copy it back, or begin a "
            "new run"
        )


def refuse_without_best(config: RunConfig, run: Path) -> None:
    """
    Raises:
        RunError: if weights were the best of a validation, but are gone.
    """
    validated = config.validation.every and any(
        config.validation.best_metric in line for line in read_metrics(run)
    )
    if validated and not best_folder(run).exists():
        raise RunError(
            f"{best_folder(run)} is gone: the weights that did best in validation. Nothing can make them "
            "again; copy them back, or begin a new run"
        )


def run_grpo(
    team: Team,
    config: RunConfig,
    run: Path,
    mixture: Mixture,
    held_out: HeldOutTasks,
    listener: Listener,
    start: Path,
) -> None:
    """Train the model in `start` with GRPO, save it as `models/final`."""
    refuse_without_best(config, run)
    policy = load_policy(start, config)
    reference = Reference(policy, config, run, start)
    tasks = TaskStream(mixture, config.run.seed, "grpo", held_out.keys)
    critic = load_critic(policy, config, start)
    teacher = load_teacher(policy, config)
    league = None if config.opponents is None else League(policy, config.opponents, config, run, start)
    with closing(Scorers(config)) as scorers, team.computing_with(policy):
        validation = Validation(
            team,
            held_out.validation,
            mixture,
            config,
            lambda: save_policy(policy, best_folder(run)),
            listener,
        )
        torch.manual_seed(config.run.seed)
        process = process_of(config.grpo, policy.format)
        train_grpo(
            team,
            policy,
            reference.at,
            config,
            run,
            tasks,
            listener,
            validation,
            process,
            critic,
            league,
            scorers,
            teacher,
        )
    tasks.close()
    if critic is not None:
        save_critic(critic, policy, critic_folder(run))
    save_policy(policy, final_folder(run))
