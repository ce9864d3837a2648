"""`train`, the whole job: model, priming, evaluation, GRPO, evaluation. What is already done is skipped."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import torch

from ludus.agents.episode import TrainingSequence
from ludus.agents.models import LoadedModel
from ludus.trainers.advantages.process import process_of, scorer
from ludus.trainers.algorithms.grpo import train_grpo
from ludus.trainers.algorithms.sft import demonstrate, fine_tune
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError
from ludus.trainers.listener import Listener, counter, phase
from ludus.trainers.run.directory import final_folder, initial_folder, open_run, primed_folder
from ludus.trainers.run.evaluation import evaluate
from ludus.trainers.run.own_data import load_data, reserved_tasks
from ludus.trainers.run.policy import (
    engine_policy,
    initial_model,
    load_policy,
    run_engine,
    save_policy,
)
from ludus.trainers.tasks import HeldOut, TaskStream, hold_out

Rows = Sequence[TrainingSequence]


def train(
    config: RunConfig, directory: str | Path, resume: bool = False, listener: Listener | None = None
) -> Path:
    """Run a configuration from beginning to end, or resume it.

    A finished phase leaves a file behind (`models/primed`, an entry in `evaluation.json`, `models/final`),
    written whole or not at all; a resumed run skips it, continues SFT and GRPO from their last checkpoint,
    and ends with the same bits as a run that was never interrupted.

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
    listener = listener or Listener()
    with open_run(config, Path(directory), resume) as run, computing(config):
        env = make_environment(config)
        scorer(config.grpo)  # refused before priming, not after
        wanted = held_out_tasks(config)
        held_out = hold_out(env, wanted, config.evaluation.first_seed)
        if len(held_out.seeds) < wanted:
            listener.note(
                f"{config.environment.id} has few distinct tasks: {len(held_out.seeds)} of them are held "
                f"out, not {wanted}, so that about half of what training draws stays its own"
            )
        if not primed_folder(run).exists():
            prime(config, run, env, held_out, listener)
        evaluate("primed", config, run, held_out, listener)
        if config.grpo.steps:
            if not final_folder(run).exists():
                run_grpo(config, run, env, held_out, listener)
            evaluate("final", config, run, held_out, listener)
        env.close()
    return run


def make_environment(config: RunConfig) -> gymnasium.Env[Any, Any]:
    """
    Raises:
        ConfigError: if it cannot be made with these arguments, or a language model cannot play it.
    """
    id = config.environment.id
    try:
        env = config.environment.spec.make()
    except (TypeError, ValueError, ModuleNotFoundError, gymnasium.error.Error) as error:
        raise ConfigError(f"[environment] {id} cannot be made as configured: {error}") from error
    if not isinstance(env.reset(seed=0)[0], list):
        raise ConfigError(
            f"environment.id = {id} does not observe messages, so a language model cannot play it; take its "
            "chat form"
        )
    if config.sft.demonstrates and "oracle" not in getattr(env.unwrapped, "scripted", {}):
        raise ConfigError(
            f"environment.id = {id} has no oracle to take demonstrations from; add one to its `scripted`, "
            "name files in sft.data, or leave priming out with sft.steps = 0"
        )
    return env


def held_out_tasks(config: RunConfig) -> int:
    """How many tasks are held out; the held-out demonstrations are played on the first of them."""
    return max(
        config.evaluation.episodes, config.sft.heldout_demonstrations if config.sft.demonstrates else 0
    )


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
    config: RunConfig, run: Path, env: gymnasium.Env[Any, Any], held_out: HeldOut, listener: Listener
) -> None:
    """Make or load the model, fine-tune it on demonstrations or data, save it as `models/primed`."""
    with phase(listener, "model", 0):
        policy = load_policy(initial_model(config, run), config)
        parameters = sum(parameter.numel() for parameter in policy.model.parameters())
        size = f"{parameters / 1e6:.1f} million" if parameters >= 1e5 else f"{parameters:,}"
        listener.note(f"model: {config.model.path}, {size} parameters")
    if config.sft.steps:
        tasks = TaskStream(env, config.run.seed, "sft", held_out.tasks)
        if config.sft.data:
            spec = config.environment.spec
            reserved = reserved_tasks([(spec, seed) for seed in held_out.seeds], {spec.id: held_out.tasks})
            data = load_data(config.sft, policy, reserved, run, listener)
            shown: tuple[Rows, Rows] = (data.train, data.heldout)
        else:
            shown = play_demonstrations(config, policy, tasks, held_out, listener)
        if config.model.path == "small" and not initial_folder(run).exists():
            save_policy(policy, initial_folder(run))
        torch.manual_seed(config.run.seed)
        fine_tune(policy, *shown, config, run, tasks, listener)
    save_policy(policy, primed_folder(run))


def play_demonstrations(
    config: RunConfig, policy: LoadedModel, tasks: TaskStream, held_out: HeldOut, listener: Listener
) -> tuple[Rows, Rows]:
    """The oracle's rows on training tasks and on held-out ones."""
    heldout_seeds = held_out.seeds[: config.sft.heldout_demonstrations]
    with phase(listener, "demonstrations", config.sft.demonstrations + len(heldout_seeds)):
        count = counter(listener, "demonstrations")
        demonstrations = demonstrate(tasks.take(config.sft.demonstrations), policy.format, config, count)
        return demonstrations, demonstrate(heldout_seeds, policy.format, config, count)


def run_grpo(
    config: RunConfig, run: Path, env: gymnasium.Env[Any, Any], held_out: HeldOut, listener: Listener
) -> None:
    """Train the primed model with GRPO, save it as `models/final`."""
    policy = load_policy(primed_folder(run), config)
    reference = load_policy(primed_folder(run), config).model if config.grpo.kl_coefficient else None
    tasks = TaskStream(env, config.run.seed, "grpo", held_out.tasks)
    with closing(run_engine(policy, config)) as engine:
        player = engine_policy(engine, policy, config, config.rollout.temperature)
        torch.manual_seed(config.run.seed)
        process = process_of(config.grpo, policy.format)
        train_grpo(policy.model, player, reference, config, run, tasks, listener, engine, process)
    save_policy(policy, final_folder(run))
