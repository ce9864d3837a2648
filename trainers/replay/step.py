"""Which step of a run is computed again, and by which algorithms."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ludus.agents.store import VERSION, file_metadata
from ludus.trainers.config.credit import CreditKeys
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.kl import KlKeys
from ludus.trainers.config.policy_loss import PolicyLossKeys
from ludus.trainers.config.reading import override, parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.config.values import nearest
from ludus.trainers.errors import RunError
from ludus.trainers.metrics import read_metrics
from ludus.trainers.replay.record import STEP, TOKENIZER
from ludus.trainers.run.directory import run_config, step_file, stored_steps
from ludus.trainers.schedules import at_step

_SINCE = 7
"""The first version of episode files that hold what training computed."""


@dataclass(frozen=True)
class Step:
    """A stored GRPO step of a run."""

    number: int
    """Counted from 1."""
    file: Path
    logged: dict[str, float]
    history: Sequence[dict[str, float | str]]
    """The metrics of the steps before it."""
    config: RunConfig
    """Of the run."""
    tokenizer: str
    """The key of the one that the file's ids are of."""

    def at(self, config: RunConfig) -> RunConfig:
        """The configuration as it holds at the step."""
        return at_step(config, self.number - 1, self.history)


def find_step(run: Path, number: int | None = None) -> Step:
    """
    Args:
        number: Which step, counted from 1; None: the last one that is stored and recorded.

    Raises:
        RunError: the step is not stored or not recorded, or its file holds nothing of training.
        EpisodeFileError: the file is damaged, or of a later version.
    """
    stored = stored_steps(run)
    if not stored:
        raise RunError(
            f"{run} has no stored episodes of a GRPO step (episodes/train-STEP.parquet): it has not come to "
            "its first one yet, or they were removed"
        )
    logged = {int(line["step"]): line for line in read_metrics(run) if line["phase"] == "grpo"}
    if number is None:
        number = max(logged.keys() & stored, default=stored[-1])
    if number not in stored:
        raise RunError(
            f"step {number} of {run} is not stored; these are: {', '.join(map(str, stored))} (every "
            "grpo.store_every-th one, the first and the last)"
        )
    file = step_file(run, number)
    metadata = file_metadata(file)
    if int(metadata[VERSION]) < _SINCE:
        raise RunError(
            f"{file} is of version {metadata[VERSION]}, which lacks what training computed of each token "
            "(log-probabilities of trainer and reference, values): only a step that this version of Ludus "
            "stored can be computed again"
        )
    if STEP not in metadata:
        raise RunError(
            f"{file} was not stored by a training step, so it holds episodes alone: put the step's own file "
            "back"
        )
    if metadata[STEP] != str(number):
        raise RunError(
            f"{file} holds step {metadata[STEP]}, not step {number}: it was renamed; give it its name back"
        )
    if number not in logged:
        raise RunError(
            f"{run}/metrics.jsonl has no step {number}: it was stopped or killed before it was recorded; "
            "resume it, or name another of the steps that are stored"
        )
    return Step(
        number,
        file,
        {name: float(value) for name, value in logged[number].items() if name != "phase"},
        [line for step, line in logged.items() if step < number],
        run_config(run),
        metadata[TOKENIZER],
    )


def algorithm(config: RunConfig, text: str) -> RunConfig:
    """The configuration of a run with another algorithm.

    Args:
        text: `NAME`, `NAME,key=value,…` or `key=value,…`: the policy loss and other keys of `[grpo]`. A
            `credit` brings the defaults of what is not given about credit.

    Raises:
        ConfigError: a key or a value is wrong, or they do not go together.
        RunError: a key is about how the step was played or trained, which is over.
    """
    pairs = [pair.partition("=") for pair in text.split(",")]
    given = {name if equals else "loss": value if equals else name for name, equals, value in pairs}
    judging = {*PolicyLossKeys.model_fields, *CreditKeys.model_fields, *KlKeys.model_fields, *_SHAPING}
    for key in given:
        if key not in judging:
            why = (
                "is about how the step was played and trained, which is over"
                if key in GrpoSection.model_fields
                else f"is no key of [grpo]{nearest(key, judging)}"
            )
            raise RunError(f'--loss "{text}": {key} {why}')
    values = tomllib.loads(config.to_toml())
    if "credit" in given:
        for key in CreditKeys.model_fields:
            values["grpo"].pop(key, None)
        if given["credit"] != "gae":
            values.pop("critic", None)
        if given["credit"] != "teacher":
            values.pop("distillation", None)
    for key, value in given.items():
        override(values, f"grpo.{key}", value)
    return parse_config(values, source=f'--loss "{text}"')


_SHAPING = ("overlong_tokens", "overlong_filter", "dynamic_sampling")
