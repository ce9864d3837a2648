"""The contents of a run's folder, as frozen records. Nothing is drawn here, and nothing outside the folder is
read."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ludus.agents.episode import Episode
from ludus.agents.store import read_episodes
from ludus.report.run.smoothing import Floats
from ludus.tools.checksums import is_damaged, is_damaged_text
from ludus.tools.errors import UserError

Trained = Literal["sft", "rft", "preferences", "grpo", "reward_model"]
"""A phase that trains."""


class ReportError(UserError):
    """The folder is not a run, or one of its files cannot be read."""


@dataclass(frozen=True)
class Metrics:
    """One phase of `metrics.jsonl`: name → (steps, values), both of shape (points,), steps increasing."""

    columns: Mapping[str, tuple[Floats, Floats]]

    def names(self, prefix: str) -> list[str]:
        return [name for name in self.columns if name.startswith(prefix)]

    @property
    def steps(self) -> int:
        """The last step's number; 0 if the phase has none."""
        return int(max((steps[-1] for steps, _ in self.columns.values()), default=0))

    @property
    def points(self) -> int:
        """The number of steps with a value."""
        return max((len(steps) for steps, _ in self.columns.values()), default=0)


@dataclass(frozen=True)
class Run:
    directory: Path
    config: dict[str, Any]
    data: dict[str, Any]
    """What became of the conversations of `sft.data`; empty without data."""
    sft: Metrics
    rft: Metrics
    preferences: Metrics
    grpo: Metrics
    reward_model: Metrics
    worth: dict[str, Any]
    """What a reward model is worth on held-out data; empty if none was trained to its end."""
    evaluation: dict[str, dict[str, Any]]
    """`primed`, `best` and `final`, if reached."""
    primed: list[Episode]
    """The evaluation's episodes of the primed model; empty if there are none yet."""
    final: list[Episode]
    early: list[Episode]
    """The first stored training batch."""
    late: list[Episode]
    """The last stored training batch; empty if it would be the first."""
    early_step: int
    late_step: int
    started: datetime
    ended: datetime
    """Modification time of the newest file that goes into the report."""
    notes: tuple[str, ...]
    """Notes for the reader about the files themselves."""

    @property
    def environments(self) -> list[dict[str, Any]]:
        """The tables of the environments: one or several."""
        return _environments(self.config)

    def metrics(self, phase: Trained) -> Metrics:
        return {
            "sft": self.sft,
            "rft": self.rft,
            "preferences": self.preferences,
            "grpo": self.grpo,
            "reward_model": self.reward_model,
        }[phase]

    @property
    def environment(self) -> str:
        """For headings."""
        played = dict.fromkeys(str(table["id"]) for table in self.environments)
        return ", ".join(played or [*_data(self.config)])

    @property
    def form_terms(self) -> frozenset[str]:
        """The reward terms that judge the form of a reply."""
        trained = (name.removeprefix("form/") for name in self.grpo.names("form/"))
        evaluated = (summary.get("form_terms", ()) for summary in self.evaluation.values())
        return frozenset(chain(trained, *evaluated))

    @property
    def finished(self) -> bool:
        return "final" in self.evaluation


def read_run(directory: Path) -> Run:
    """Gather what the report needs.

    Raises:
        ReportError: the folder is not a run, or a file in it is corrupt; the line names it.
    """
    config_file = directory / "config.toml"
    if not directory.is_dir():
        raise ReportError(
            f"{directory}: no such folder; a run's folder is what `ludus train` prints, such as runs/NAME"
        )
    if not config_file.is_file():
        raise ReportError(
            f"{directory}: not a run, there is no config.toml in it; name the folder that `ludus train` "
            "wrote, such as runs/NAME"
        )
    metrics_file, evaluation_file = directory / "metrics.jsonl", directory / "evaluation.json"
    phases, notes = _read_metrics(metrics_file)
    batches = sorted((directory / "episodes").glob("train-*.parquet"))
    used = [file for file in (config_file, metrics_file, evaluation_file) if file.is_file()]
    times = [file.stat().st_mtime for file in used]
    return Run(
        directory=directory,
        config=_read_config(config_file),
        data=_read_data(directory / "data.json"),
        sft=phases.get("sft", Metrics({})),
        rft=phases.get("rft", Metrics({})),
        preferences=phases.get("preferences", Metrics({})),
        grpo=phases.get("grpo", Metrics({})),
        reward_model=phases.get("reward_model", Metrics({})),
        worth=_read_worth(directory / "reward_model.json"),
        evaluation=_read_evaluation(evaluation_file),
        primed=_read_episodes(directory / "episodes" / "evaluation-primed.parquet"),
        final=_read_episodes(directory / "episodes" / "evaluation-final.parquet"),
        early=_read_episodes(batches[0]) if batches else [],
        late=_read_episodes(batches[-1]) if len(batches) > 1 else [],
        early_step=_step_of(batches[0]) if batches else 0,
        late_step=_step_of(batches[-1]) if batches else 0,
        started=datetime.fromtimestamp(config_file.stat().st_mtime),
        ended=datetime.fromtimestamp(max(times)),
        notes=notes,
    )


def _environments(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [config["environment"]] if "environment" in config else config.get("environments", [])


def _data(config: dict[str, Any]) -> list[str]:
    """The files that are trained on."""
    tables = ("sft", "preferences", "reward_model")
    return [name for table in tables for name in config.get(table, {}).get("data", [])]


def _read_config(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        config = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ReportError(
            f"{file}: not valid TOML ({error}); it was edited or damaged, copy the run's configuration back"
        ) from None
    if is_damaged_text(text):
        raise ReportError(
            f"{file}: not what the run wrote there (its checksum differs); it was edited or damaged, copy "
            "the run's configuration back"
        )
    played = _environments(config)
    if not (played or _data(config)) or not all(isinstance(table.get("id"), str) for table in played):
        raise ReportError(
            f"{file}: no environment.id, so this is not a run's configuration; name a run's folder"
        )
    return config


def _read_metrics(file: Path) -> tuple[dict[str, Metrics], tuple[str, ...]]:
    """The metrics by phase. For a step repeated after a resume, the last record counts. The last line of a
    killed run may be torn (no newline, no closing brace): it is left out, with a note.
    """
    if not file.is_file():
        return {}, ()
    lines = file.read_bytes().split(b"\n")
    torn_allowed = len(lines)
    notes: tuple[str, ...] = ()
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            phase, step = row["phase"], int(row["step"])
        except (ValueError, KeyError, TypeError):
            if number == torn_allowed:
                notes = (
                    f"The last line of {file.name} is torn (the run was killed, or is writing it just now); "
                    "it is left out.",
                )
                break
            raise ReportError(
                f"{file}, line {number}: not a metrics record (a JSON object with phase and step); "
                "the file was edited or damaged, delete that line"
            ) from None
        if is_damaged(row):
            raise ReportError(
                f"{file}, line {number}: not what was written (its checksum differs); the file was edited or "
                "damaged, delete that line"
            )
        rows.setdefault(phase, {})[step] = {
            name: float(value)
            for name, value in row.items()
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
        }
    return {phase: _columns(by_step) for phase, by_step in rows.items()}, notes


def _columns(by_step: dict[int, dict[str, float]]) -> Metrics:
    """By name. A part of a whole (`stop/…`, `seconds/…`, `…/share`) that a step's record lacks was 0."""
    steps = sorted(by_step)
    names = dict.fromkeys(name for step in steps for name in by_step[step])
    columns = {}
    for name in names:
        is_part = name.startswith(("stop/", "seconds/")) or name.endswith("/share")
        absent = 0.0 if is_part else np.nan
        points = [(step, value) for step in steps if np.isfinite(value := by_step[step].get(name, absent))]
        if points:
            columns[name] = (np.array([p[0] for p in points], float), np.array([p[1] for p in points], float))
    return Metrics(columns)


def _read_evaluation(file: Path) -> dict[str, dict[str, Any]]:
    if not file.is_file():
        return {}
    try:
        evaluation = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReportError(
            f"{file}: not valid JSON ({error}); it was edited or damaged, delete it and evaluate again"
        ) from None
    wanted = {"episodes", "success", "mean_return", "reward_terms"}
    summaries = evaluation.values() if isinstance(evaluation, dict) else [None]
    if not all(isinstance(summary, dict) and wanted <= summary.keys() for summary in summaries):
        raise ReportError(
            f"{file}: not the summaries of primed and final models; delete it and evaluate again"
        )
    if any(map(is_damaged, summaries)):
        raise ReportError(
            f"{file}: a summary is not what was written (its checksum differs); it was edited or damaged, "
            "delete it and evaluate again"
        )
    return evaluation


def _read_data(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        damaged = is_damaged(data)
    except (ValueError, TypeError):
        damaged = True
    if damaged:
        raise ReportError(
            f"{file}: not what the run wrote there; it was edited or damaged, delete it, and the report goes "
            "without the counts of the data"
        )
    return data


def _read_worth(file: Path) -> dict[str, Any]:
    try:
        worth: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise ReportError(
            f"{file}: not valid JSON ({error}); it was edited or damaged, delete it, and the report goes "
            "without what the reward model is worth"
        ) from None
    return worth


def _read_episodes(file: Path) -> list[Episode]:
    try:
        return read_episodes(file) if file.is_file() else []
    except ValueError as error:
        raise ReportError(f"{error}; or delete it, and the report goes without these episodes") from None


def _step_of(file: Path) -> int:
    digits = file.stem.removeprefix("train-")
    return int(digits) if digits.isdigit() else 0
