"""The run of a reward model: examples, training, and what the model is worth on those that were held out."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import torch

from ludus.agents.episode import Episode
from ludus.agents.models import LoadedModel, load_model, tokenizer_key
from ludus.agents.reward_model import SEPARATOR, context_of, refuse_without_steps
from ludus.agents.store import write_episodes
from ludus.tools.errors import DataError
from ludus.trainers.algorithms.reward_model import Examples, measure, train_reward_model
from ludus.trainers.algorithms.step_labels import continuations, label_steps, play_episodes
from ludus.trainers.calibration import PairReport, StepReport
from ludus.trainers.config.reward_model import RewardModelSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.curriculum import all_levels
from ludus.trainers.data.examples import PairExample, StepExample, pair_examples, step_examples
from ludus.trainers.data.read import held_out_openings
from ludus.trainers.disk import disk_errors, write_file
from ludus.trainers.listener import Listener, counter, phase
from ludus.trainers.mixture import Mixture
from ludus.trainers.parallel.team import Team
from ludus.trainers.replay.record import TOKENIZER
from ludus.trainers.run.directory import reward_folder
from ludus.trainers.run.policy import initial_model, load_policy, save_policy
from ludus.trainers.tasks import HeldOutTasks, TaskStream

REPORT = "reward_model.json"
TASKS_AT_ONCE = 8
"""Whose rollouts are in memory at the same time."""


def run_reward_model(
    team: Team, config: RunConfig, run: Path, mixture: Mixture, held_out: HeldOutTasks, listener: Listener
) -> None:
    """Train the model that `[reward_model]` describes; save it as `models/reward`, and its report as
    `reward_model.json`.

    Raises:
        UserError: the model or the data cannot be used, or training diverged.
    """
    section = config.reward_model
    assert section is not None
    if reward_folder(run).exists():
        return
    tasks = TaskStream(mixture, config.run.seed, "reward_model", held_out.keys)
    sources = section.data
    if section.plays:
        sources = [str(steps_file(run))]
        if not steps_file(run).exists():
            play_steps(team, config, section, run, tasks, listener)
    with phase(listener, "model", 0):
        loaded = load_trained(config, section, run)
    with phase(listener, "data", 0):
        train, heldout = read_examples(section, sources, loaded, listener)
    torch.manual_seed(config.run.seed)
    train_reward_model(loaded, train, heldout, config, run, tasks, listener)
    tasks.close()
    report = measure(loaded, heldout, section.microbatch_tokens)
    write_file(run / REPORT, json.dumps(asdict(report), indent=1))
    for line in told(report):
        listener.note(line)
    save_policy(loaded, reward_folder(run))


def steps_file(run: Path) -> Path:
    """The episodes whose steps the policy labelled."""
    return run / "episodes" / "steps.parquet"


def play_steps(
    team: Team,
    config: RunConfig,
    section: RewardModelSection,
    run: Path,
    tasks: TaskStream,
    listener: Listener,
) -> None:
    """Have the policy play episodes, and go on from each of their steps."""
    policy, temperature = load_policy(initial_model(config, run), config), config.rollout.temperature
    refuse_without_steps(load_trained(config, section, run).model)  # before anything is played
    drawn = tasks.take(section.tasks, all_levels(tasks.mixture))
    with team.computing_with(policy):
        with phase(listener, "episodes", len(drawn) * section.samples):
            told = counter(listener, "episodes")
            episodes = play_episodes(team, drawn, section.samples, temperature, told)
        rollouts = len(continuations(episodes, policy.format, section)[1])
        with phase(listener, "steps", rollouts):
            told, labelled = counter(listener, "steps"), list[Episode]()
            for _, some in groupby(episodes, lambda episode: episode.group // TASKS_AT_ONCE):
                labelled += label_steps(team, [*some], policy.format, section, temperature, told)
    with disk_errors(steps_file(run)):
        write_episodes(steps_file(run), labelled, {TOKENIZER: tokenizer_key(policy.tokenizer)})


def load_trained(config: RunConfig, section: RewardModelSection, run: Path) -> LoadedModel:
    """A reward model as it begins, whose weights are in memory of their own, as a policy's.

    Raises:
        ModelLoadError: it cannot be loaded, has more labels than one, or no value for a step.
    """
    keys = config.model
    loaded = load_model(
        initial_model(config, run), keys.dtype, keys.device, day=config.run.day, head="reward"
    )
    model = loaded.model
    if section.kind == "process":
        refuse_without_steps(model)
        setattr(model.config, SEPARATOR, section.separator)
    if not keys.train_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return loaded


def read_examples(
    section: RewardModelSection, sources: list[str], loaded: LoadedModel, listener: Listener
) -> tuple[Examples, Examples]:
    """Those to train on, and those held out: what has the same beginning is on the same side.

    Raises:
        DataError: a source cannot be read, or nothing is left to train or to measure on.
    """
    context = context_of(loaded.model)
    read: Iterator[PairExample | StepExample] = (
        pair_examples(sources, loaded) if section.kind == "outcome" else step_examples(sources, loaded)
    )
    every = [*_counted(read, listener)]
    fitting = [example for example in every if example.size <= context]
    examples = Examples(
        [example for example in fitting if isinstance(example, PairExample)],
        [example for example in fitting if isinstance(example, StepExample)],
    )
    openings = [example.opening for example in fitting]
    held = held_out_openings(openings, section.heldout_share)
    train, heldout = (
        examples.take([index for index, opening in enumerate(openings) if (opening in held) == is_held])
        for is_held in (False, True)
    )
    too_long = len(every) - len(fitting)
    if not len(train) or not len(heldout):
        raise DataError(
            f"{', '.join(sources)}: {len(fitting):,} examples with {len(set(openings)):,} different "
            "beginnings are too few to train on some and to measure on others; give more (longer than the "
            f"model's context: {too_long:,})"
        )
    left_out = f"; {too_long:,} left out, longer than the model's context" if too_long else ""
    what = "pairs" if section.kind == "outcome" else "rows with steps"
    listener.note(f"data: {len(train):,} {what} to train on, {len(heldout):,} held out{left_out}")
    return train, heldout


def told(report: PairReport | StepReport) -> list[str]:
    """A report in a few lines."""
    if isinstance(report, StepReport):
        return [
            f"reward model: mean squared error {report.brier:.3f} on {report.steps:,} held-out steps "
            f"(their mean for all: {report.spread:.3f}), calibration error {report.calibration_error:.3f}"
        ]
    buckets = (f"{bucket.accuracy:.3f} of {bucket.pairs:,} at {bucket.ratio}" for bucket in report.buckets)
    return [
        f"reward model: right on {report.accuracy:.3f} of {report.pairs:,} held-out pairs, "
        f"{report.log_loss:.3f} nats, calibration error {report.calibration_error:.3f}",
        f"by length, chosen over rejected: {', '.join(buckets)}",
        f"length: {report.length}",
    ]


def _counted(
    examples: Iterable[PairExample | StepExample], listener: Listener
) -> Iterator[PairExample | StepExample]:
    for number, example in enumerate(examples, 1):
        listener.progressed("data", number, {})
        yield example
