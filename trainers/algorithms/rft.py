"""Rejection sampling: the best of several replies to each task, fine-tuned on, again and again.

`train_rft` is the whole algorithm. An iteration's episodes are stored before the first step on them and
read from there, so a killed run goes on with the same ones.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

from ludus.agents.episode import Episode, TrainingSequence
from ludus.agents.models import LoadedModel
from ludus.agents.policy import derive_seed
from ludus.agents.rollout import EpisodeStart
from ludus.agents.store import read_episodes, write_episodes
from ludus.trainers.algorithms.sft import batch_indices, team_gradients
from ludus.trainers.checks.faults import fault_share
from ludus.trainers.checks.finite import check_loss, norm_metrics
from ludus.trainers.checks.registry import CHECKS
from ludus.trainers.checks.trust import alarm
from ludus.trainers.config.rft import RftSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.curriculum import all_levels
from ludus.trainers.disk import disk_errors
from ludus.trainers.errors import RunError, TrainingDiverged
from ludus.trainers.listener import Listener
from ludus.trainers.metrics import completion_tokens
from ludus.trainers.models.optimizer import apply_gradients, build_optimizer, learning_rate
from ludus.trainers.opponents import opponent_of
from ludus.trainers.parallel.play import play, play_games
from ludus.trainers.parallel.team import Team
from ludus.trainers.phase import TrainingPhase
from ludus.trainers.tasks import Purpose, Task, TaskStream


def train_rft(
    team: Team,
    policy: LoadedModel,
    config: RunConfig,
    run: Path,
    tasks: TaskStream,
    listener: Listener,
) -> None:
    """Train `policy.model`, which the team has loaded, in place on the best of the episodes that it plays.

    Raises:
        TrainingDiverged: if the loss is not finite.
        RunError: if no episode of an iteration was kept, too many faulted, or the disk is full.
        KeyboardInterrupt: after Ctrl-C, once the training state is saved.
    """
    rft, model = config.rft, policy.model
    optimizer = build_optimizer(model, rft, config.model.masters)
    steps = rft.iterations * rft.steps
    with TrainingPhase(run, "rft", steps, model, optimizer, tasks, config.checkpoint, listener) as phase:
        rows: list[TrainingSequence] = []
        for step in phase.steps():
            began = time.perf_counter()
            iteration, within = divmod(step, rft.steps)
            measured: dict[str, float] = {}
            if within == 0:
                drawn = tasks.take(rft.tasks, all_levels(tasks.mixture), iteration)
                if not episode_file(run, iteration).exists():
                    play_iteration(team, drawn, config, run, iteration)
            if within == 0 or not rows:
                episodes = read_iteration(run, iteration)
                selection = select(episodes, rft)
                require_some(selection, rft, iteration)
                rows = rows_of(selection)
                if within == 0:
                    measured = selection_metrics(
                        episodes, selection, rft.steps * rft.batch_episodes / len(rows)
                    )
                    listener.note(f"RFT iteration {iteration + 1}: {described(selection)}")
            played = time.perf_counter()
            seed = derive_seed(config.run.seed, iteration)
            chosen = batch_indices(seed, within, rft.batch_episodes, len(rows))
            chosen_rows = [rows[index] for index in chosen]
            (loss, _), tokens = team_gradients(team, chosen_rows, rft.microbatch_tokens)
            check_loss(loss, rft, "rft", step)
            rate = learning_rate(rft, step, steps)
            norm = apply_gradients(optimizer, rate, rft.max_grad_norm)
            ended = time.perf_counter()
            metrics = {
                "loss": loss,
                **norm_metrics(norm, phase.history, rft, "rft", step),
                "learning_rate": rate,
                "iteration": iteration + 1.0,
                **measured,
                "tokens_per_second": tokens / (ended - played),
                "seconds/rollout": played - began,
                "seconds/train": ended - played,
                "seconds/total": ended - began,
            }
            phase.finish(step, metrics)


@dataclass(frozen=True)
class Selection:
    """What an iteration is fine-tuned on, and what was left out."""

    kept: tuple[Episode, ...]
    tasks: int
    samples: int
    unsolved: int
    """Tasks of which nothing was kept."""
    repeated: int
    """Episodes left out since another of their task has the same tokens."""
    surplus: int
    """Episodes left out since their task has enough of them."""


def select(episodes: Sequence[Episode], rft: RftSection) -> Selection:
    """The episodes to fine-tune on: of each task (group) those that succeeded or earned enough, the highest
    reward first, then in the order sampled, each once."""
    groups: dict[int, list[Episode]] = {}
    for episode in episodes:
        groups.setdefault(episode.group, []).append(episode)
    kept: list[Episode] = []
    unsolved = repeated = surplus = 0
    for group in groups.values():
        good = [episode for episode in group if _is_good(episode, rft)]
        good.sort(key=lambda episode: -episode.episode_return)  # stable
        distinct: dict[tuple[tuple[int, ...], ...], Episode] = {}
        for episode in good:
            distinct.setdefault(tuple(turn.completion_ids for turn in episode.turns), episode)
        best = [*distinct.values()][: rft.keep]
        kept += best
        unsolved += not best
        repeated += len(good) - len(distinct)
        surplus += len(distinct) - len(best)
    return Selection(tuple(kept), len(groups), len(episodes), unsolved, repeated, surplus)


def _is_good(episode: Episode, rft: RftSection) -> bool:
    succeeded = episode.success or not rft.only_successes
    has_tokens = any(turn.completion_ids for turn in episode.turns)
    return episode.is_scored and succeeded and episode.episode_return >= rft.least_reward and has_tokens


def rows_of(selection: Selection) -> list[TrainingSequence]:
    """What was kept, as demonstrations: to become likelier among all ids, whichever it was drawn among."""
    return [replace(row, kept=None) for episode in selection.kept for row in episode.training_sequences()]


def selection_metrics(episodes: Sequence[Episode], selection: Selection, passes: float) -> dict[str, float]:
    """Metrics of an iteration, recorded with its first step.

    Args:
        passes: How often the iteration's steps go through what was kept.
    """
    whole = [episode for episode in episodes if episode.is_scored]
    return {
        "reward": fmean(episode.episode_return for episode in whole),
        "success": fmean(episode.success for episode in whole),
        "fault_share": fmean(episode.is_fault for episode in episodes),
        "sampled_tokens": float(completion_tokens(episodes)),
        "tasks": float(selection.tasks),
        "samples": float(selection.samples),
        "kept": float(len(selection.kept)),
        "unsolved_tasks": float(selection.unsolved),
        "repeated": float(selection.repeated),
        "surplus": float(selection.surplus),
        "passes": passes,
    }


def described(selection: Selection) -> str:
    return (
        f"{len(selection.kept):,} of {selection.samples:,} episodes kept ({selection.repeated:,} repeated "
        f"and {selection.surplus:,} surplus ones left out), none on {selection.unsolved:,} of "
        f"{selection.tasks:,} tasks"
    )


def require_some(selection: Selection, rft: RftSection, iteration: int) -> None:
    """
    Raises:
        RunError: if nothing was kept.
    """
    if not selection.kept:
        wanted = ["succeeded"] * rft.only_successes
        wanted += [f"earned {rft.least_reward:g}"] * (rft.least_reward > -math.inf)
        raise RunError(
            f"RFT iteration {iteration + 1}: none of {selection.samples:,} episodes on {selection.tasks:,} "
            f"tasks {' and '.join(wanted)}, so there is nothing to fine-tune on: begin a new run that primes "
            "for longer (sft.steps), samples more (rft.samples, rft.tasks) or asks for less "
            "(rft.least_reward)"
        )


def play_iteration(team: Team, tasks: Sequence[Task], config: RunConfig, run: Path, iteration: int) -> None:
    """Play an iteration's episodes, and store them.

    Raises:
        TrainingDiverged: if too many of them faulted.
        RunError: if the disk is full.
    """
    episodes = play_groups(team, tasks, config.rft.samples, config, "rft", iteration)
    path = episode_file(run, iteration)
    with disk_errors(path):
        write_episodes(path, episodes)


def play_groups(
    team: Team,
    tasks: Sequence[Task],
    samples: int,
    config: RunConfig,
    phase: Literal["rft", "preferences"],
    iteration: int,
) -> list[Episode]:
    """Play so many episodes of each task, a group.

    Args:
        iteration: Of the phase, counted from 0.

    Raises:
        TrainingDiverged: if too many of them faulted.
    """
    jobs = [
        (task.spec, EpisodeStart(task.seed, group, sample, _opponent(config, phase, iteration, group)))
        for group, task in enumerate(tasks)
        for sample in range(samples)
    ]
    temperature = config.rollout.temperature
    if config.opponents is None:
        episodes = play(team, jobs, temperature).episodes
    else:
        games, _ = play_games(team, jobs, temperature, {})
        episodes = [episode for game in games for episode in game.episodes]
    when = f"RFT iteration {iteration + 1}" if phase == "rft" else f"{phase} step {iteration + 1}"
    if told := alarm(CHECKS["fault_share"], fault_share(episodes), config.trust, when):
        raise TrainingDiverged(told)
    return episodes


def _opponent(config: RunConfig, phase: Purpose, iteration: int, group: int) -> str:
    section = config.opponents
    return "" if section is None else opponent_of(section, config.run.seed, phase, iteration, group, [], [])


def read_iteration(run: Path, iteration: int) -> list[Episode]:
    path = episode_file(run, iteration)
    if not path.exists():
        raise RunError(
            f"{path} is gone, which rejection sampling was fine-tuning on: put it back, or begin a new run"
        )
    return read_episodes(path)


def episode_file(run: Path, iteration: int) -> Path:
    """Where an iteration's episodes are stored.

    Args:
        iteration: Counted from 0.
    """
    return run / "episodes" / f"rft-{iteration + 1:06d}.parquet"
