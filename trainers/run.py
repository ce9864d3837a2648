"""`train`: the whole job: model, priming, evaluation, GRPO, evaluation; what is done is not done again."""

import fcntl
import itertools
import json
import os
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import gymnasium
import torch
from transformers import PreTrainedModel

from ludus.agents.engines.base import Sampling
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.episode import Episode
from ludus.agents.evaluate import summarise
from ludus.agents.models import LoadedModel, load_model, quiet_transformers
from ludus.agents.policy import EnginePolicy
from ludus.agents.rollout import EpisodeStart, rollout
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.agents.store import write_episodes
from ludus.kernels import apply_kernels, kernels_problem
from ludus.trainers.checkpoint import clear_leftovers, disk_errors, replacing, write_file
from ludus.trainers.config import RunConfig, load_config
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.grpo import improve
from ludus.trainers.listener import Listener, Phase
from ludus.trainers.sft import demonstrate, fine_tune
from ludus.trainers.tasks import HeldOut, TaskStream, hold_out

Stage = Literal["primed", "final"]


def train(
    config: RunConfig, directory: str | Path, resume: bool = False, listener: Listener | None = None
) -> Path:
    """Run a configuration from beginning to end, or go on with it.

    A finished phase leaves a file behind (`models/primed`, an entry in `evaluation.json`, `models/final`),
    written whole or not at all; a resumed run skips it, and goes on within SFT and GRPO from their last
    checkpoint, to the same bits as a run that was never interrupted.

    Args:
        config: What to do.
        directory: The run's folder; its layout is in `docs/architecture.md`.
        resume: Go on with the run that is there.
        listener: Told of every phase and step.

    Returns:
        The run's folder.

    Raises:
        UserError: what went wrong, in one line: `ConfigError`, `RunError`, `CheckpointError`,
            `TrainingDiverged`, `ModelLoadError`.
        KeyboardInterrupt: after Ctrl-C; what was trained is saved.
    """
    listener = listener or Listener()
    with open_run(config, Path(directory), resume) as run, computing(config):
        env = make_environment(config)
        held_out = hold_out(env, held_out_tasks(config), config.evaluation.first_seed)
        if not primed_folder(run).exists():
            prime(config, run, env, held_out, listener)
        evaluate("primed", config, run, held_out, listener)
        if config.grpo.steps:
            if not final_folder(run).exists():
                sharpen(config, run, env, held_out, listener)
            evaluate("final", config, run, held_out, listener)
        env.close()
    return run


def primed_folder(run: Path) -> Path:
    return run / "models" / "primed"


def final_folder(run: Path) -> Path:
    return run / "models" / "final"


@contextmanager
def open_run(config: RunConfig, run: Path, resume: bool) -> Iterator[Path]:
    """Make a run's folder, or check that the one that is there is this run's; inside, no other process may
    open it.

    Raises:
        RunError: if there is one and it is not to be resumed, there is none to resume, or another process is
            at work on it.
        ConfigError: if it was begun with another configuration.
    """
    written = run / "config.toml"
    if resume:
        if not written.exists():
            raise RunError(
                f"{run}: there is no run to resume (it has no config.toml); begin it without --resume"
            )
        _refuse_changes(config, load_config(written), written)
        with _alone(run):
            clear_leftovers(run)
            yield run
        return
    with disk_errors(run):
        run.mkdir(parents=True, exist_ok=True)
    with _alone(run):
        # A run that failed before it trained anything, on a wrong model path say, may be begun again, mended.
        if any(path != written for path in run.iterdir()):
            raise RunError(
                f"{run} exists already and would be overwritten; go on with it by --resume, or choose "
                "another name or folder"
            )
        write_file(written, config.to_toml().encode())
        yield run


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Holds a lock on the run's folder, which the system lifts when the process ends, however it ends."""
    folder = os.open(run, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{run}: another process is at work on this run; wait until it ends, or stop it, or choose "
                "another name or folder"
            ) from None
        except OSError:
            pass  # a file system without locks: nobody can be kept out there
        yield
    finally:
        os.close(folder)


def _refuse_changes(config: RunConfig, begun: RunConfig, written: Path) -> None:
    # By way of TOML, which knows no tuples: one that was given from Python is a list in the file.
    now, then = tomllib.loads(config.to_toml()), tomllib.loads(begun.to_toml())
    for section, values in then.items():
        for key, value in values.items():
            if now[section][key] != value:
                raise ConfigError(
                    f"{section}.{key} = {now[section][key]!r}, but the run began with {value!r}: resumed so, "
                    f"it would be neither the one nor the other; resume with {written}, or begin a new run"
                )


def make_environment(config: RunConfig) -> gymnasium.Env[Any, Any]:
    """
    Raises:
        ConfigError: if it cannot be made with these arguments, or is not one that a language model can play.
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
    if config.sft.steps and "oracle" not in getattr(env.unwrapped, "scripted", {}):
        raise ConfigError(
            f"environment.id = {id} has no oracle to take demonstrations from; add one to its `scripted`, or "
            "leave priming out with sft.steps = 0"
        )
    return env


def held_out_tasks(config: RunConfig) -> int:
    """How many tasks are held out; the held-out demonstrations are of the evaluation's first tasks."""
    return max(config.evaluation.episodes, config.sft.heldout_demonstrations if config.sft.steps else 0)


@contextmanager
def computing(config: RunConfig) -> Iterator[None]:
    """Torch as a run needs it: its number of threads, and deterministic operators; as before afterwards.

    New memory is not filled first, as torch would for determinism: that writes every output of an operator
    once more. The tests of the operators run with memory full of NaN instead.
    """
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic  # its one attribute is unknown to type checkers
    fill = memory.fill_uninitialized_memory
    if config.model.device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for to be deterministic
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
    """Make or load the model, fine-tune it on demonstrations, save it as `models/primed`."""
    with phase(listener, "model", 0):
        policy = load_policy(initial_model(config), config)
        parameters = sum(parameter.numel() for parameter in policy.model.parameters())
        size = f"{parameters / 1e6:.1f} million" if parameters >= 1e5 else f"{parameters:,}"
        listener.note(f"model: {config.model.path}, {size} parameters")
    if config.sft.steps:
        tasks = TaskStream(env, config.run.seed, "sft", held_out.tasks)
        wanted = config.sft.demonstrations + config.sft.heldout_demonstrations
        with phase(listener, "demonstrations", wanted):
            count = counter(listener, "demonstrations")
            demonstrations = demonstrate(tasks.take(config.sft.demonstrations), policy.format, config, count)
            heldout_seeds = held_out.seeds[: config.sft.heldout_demonstrations]
            heldout = demonstrate(heldout_seeds, policy.format, config, count)
        torch.manual_seed(config.run.seed)
        fine_tune(policy, demonstrations, heldout, config, run, tasks, listener)
    save_policy(policy, primed_folder(run))


def sharpen(
    config: RunConfig, run: Path, env: gymnasium.Env[Any, Any], held_out: HeldOut, listener: Listener
) -> None:
    """Improve the primed model by GRPO, save it as `models/final`."""
    policy = load_policy(primed_folder(run), config)
    reference = load_policy(primed_folder(run), config).model if config.grpo.kl_coefficient else None
    tasks = TaskStream(env, config.run.seed, "grpo", held_out.tasks)
    engine = embedded_engine(policy, config)
    player = engine_policy(engine, policy, config, config.rollout.temperature)
    torch.manual_seed(config.run.seed)
    improve(policy.model, player, reference, config, run, tasks, listener, engine.weights_changed)
    save_policy(policy, final_folder(run))


def evaluate(stage: Stage, config: RunConfig, run: Path, held_out: HeldOut, listener: Listener) -> None:
    """Play the held-out tasks with a saved model; keep the episodes, and a summary in `evaluation.json`."""
    record = run / "evaluation.json"
    summaries = _summaries(record)
    count = config.evaluation.episodes
    if stage in summaries or not count:
        return
    name: Phase = "evaluation-primed" if stage == "primed" else "evaluation-final"
    with phase(listener, name, count):
        policy = load_policy(run / "models" / stage, config)
        episodes = rollout(
            engine_policy(embedded_engine(policy, config), policy, config, config.evaluation.temperature),
            config.environment.spec,
            [EpisodeStart(seed, group=index) for index, seed in enumerate(held_out.seeds[:count])],
            config.rollout.limits,
            config.rollout.concurrency,
            counter(listener, name),
        )
        summary = summarise(episodes)
        path = run / "episodes" / f"{name}.parquet"
        with disk_errors(path):
            write_episodes(path, episodes)
        write_file(record, json.dumps({**summaries, stage: summary.to_dict()}, indent=1).encode())
        success, earned = summary.success, summary.mean_return
        listener.note(
            f"{stage}: success {success.value:.3f} ({success.low:.3f} to {success.high:.3f}), mean return "
            f"{earned.value:.3f} ({earned.low:.3f} to {earned.high:.3f}) on {count} held-out tasks"
        )


def _summaries(record: Path) -> dict[str, Any]:
    try:
        summaries = json.loads(record.read_text()) if record.exists() else {}
    except ValueError as error:
        raise RunError(f"{record}: not valid JSON ({error}); {_AGAIN}") from None
    if not isinstance(summaries, dict):
        raise RunError(f"{record}: not the summaries of primed and final; {_AGAIN}")
    return summaries


_AGAIN = "it was edited or damaged, delete it and evaluate again with --resume"


def initial_model(config: RunConfig) -> str | Path:
    if config.model.path != "small":
        return config.model.path
    shape = SmallModelShape(**config.model.small.model_dump())
    return build_small_model([config.environment.spec], shape, seed=config.run.seed)


def load_policy(path: str | Path, config: RunConfig) -> LoadedModel:
    """A model whose weights lie in memory of their own, with fused operators where they pay.

    Where weights lie decides which instructions the linear algebra picks, so bits would differ between
    weights that were trained in memory and the same ones mapped from a file.
    """
    policy = load_model(path, config.model.dtype, config.model.device)
    for parameter in policy.model.parameters():
        parameter.data = parameter.data.clone()
    if kernels_pay(policy.model):
        apply_kernels(policy.model)
    return policy


def kernels_pay(model: PreTrainedModel) -> bool:
    """On a GPU, for the models that they fit. On a CPU a run is short of time rather than of memory, and what
    fusing saves there is memory."""
    return model.device.type == "cuda" and not kernels_problem(model)


def save_policy(policy: LoadedModel, folder: Path) -> None:
    with replacing(folder) as scratch, quiet_transformers():
        policy.model.save_pretrained(scratch)
        policy.tokenizer.save_pretrained(scratch)


def embedded_engine(policy: LoadedModel, config: RunConfig) -> EmbeddedEngine:
    """Samples from the model's own weights: what is trained is what plays.

    It waits for every episode as long as an environment may take for a step. With less patience a step that
    is slow once, because it compiles something or the machine is busy, would change what is computed
    together, and a resumed run would not end in the same bits.
    """
    settings = config.rollout
    return EmbeddedEngine(policy.model, slots=settings.concurrency, patience_s=settings.step_seconds)


def engine_policy(
    engine: EmbeddedEngine, policy: LoadedModel, config: RunConfig, temperature: float
) -> EnginePolicy:
    sampling = Sampling(max_tokens=config.rollout.max_tokens, temperature=temperature)
    return EnginePolicy(engine, policy.format, sampling, seed=config.run.seed)


@contextmanager
def phase(listener: Listener, name: Phase, total: int) -> Iterator[None]:
    began = time.perf_counter()
    listener.phase_begun(name, total, 0)
    yield
    listener.phase_ended(name, time.perf_counter() - began)


def counter(listener: Listener, name: Phase) -> Callable[[Episode], None]:
    """Tells the listener of each episode that is over, with the means so far of those that did not fault."""
    numbers = itertools.count(1)
    returns: list[float] = []
    successes: list[bool] = []

    def count(episode: Episode) -> None:
        if not episode.is_fault:
            returns.append(episode.episode_return)
            successes.append(episode.success)
        means = {"reward": fmean(returns), "success": fmean(successes)} if returns else {}
        listener.progressed(name, next(numbers), means)

    return count
