"""The results of a run: figures for each environment, what a reader must know first, and the files."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ludus.agents.bench.directory import EPISODES, LINES, RESULTS, Folder, write_lines
from ludus.agents.bench.metrics import Figures, by_kind, figures
from ludus.agents.bench.prices import Price
from ludus.agents.bench.result import Result
from ludus.agents.bench.tasks import TaskList, TaskSet
from ludus.agents.choose import SEE_REWARDS
from ludus.agents.evaluate import is_incomplete, left_out
from ludus.agents.store import write_episodes
from ludus.tools.files import write_file


@dataclass(frozen=True, slots=True)
class Row:
    """One environment's metrics."""

    tasks: TaskSet
    figures: Figures
    kinds: dict[str, Figures]
    """By kind of task, where there are several."""
    baselines: dict[str, Figures]


@dataclass(frozen=True, slots=True)
class Outcome:
    folder: Folder
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """Caveats about the results; empty if they are comparable and complete."""
    results: tuple[Result, ...] = field(repr=False)

    @property
    def is_incomplete(self) -> bool:
        """So many episodes lack a score, or were not played, that the figures must not be quoted alone: see
        `ludus.agents.evaluate.UNSCORED_LIMIT`."""
        unplayed = self.folder.unplayed(self.results)
        unscored = sum(not result.is_scored for result in self.results)
        return is_incomplete(unscored + unplayed, len(self.results) + unplayed)

    @property
    def cost(self) -> float | None:
        """US dollars; None if unknown."""
        costs = [row.figures.cost for row in self.rows]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    def to_dict(self) -> dict[str, Any]:
        return {
            "notes": list(self.notes),
            "settings": {
                name: getattr(self.folder.settings, name) for name in self.folder.settings.__slots__
            },
            "hash": self.folder.tasks.digest,
            "left_out": self.folder.left_out,
            "environments": [
                {
                    "environment": row.tasks.id,
                    "arguments": row.tasks.arguments,
                    "hash": row.tasks.digest,
                    "figures": row.figures.to_dict(),
                    "kinds": {name: figures.to_dict() for name, figures in row.kinds.items()},
                    "baselines": {name: figures.to_dict() for name, figures in row.baselines.items()},
                }
                for row in self.rows
            ],
        }


def outcome_of(
    folder: Folder,
    results: Sequence[Result],
    baselines: Sequence[dict[str, list[Result]]],
    price: Price | None = None,
) -> Outcome:
    """
    Args:
        baselines: for each task set, the results of each baseline.
    """
    starts = folder.tasks.starts
    by_set: dict[int, list[Result]] = defaultdict(list)
    for result in results:
        by_set[starts[result.task][0]].append(result)
    rows = tuple(
        Row(
            task_set,
            figures(by_set[which], price),
            by_kind(by_set[which], price),
            {name: figures(played) for name, played in baselines[which].items()},
        )
        for which, task_set in enumerate(folder.tasks.sets)
    )
    return Outcome(folder, rows, tuple(_notes(folder, results)), tuple(results))


def write_results(
    folder: Folder,
    results: Sequence[Result],
    baselines: Sequence[dict[str, list[Result]]],
    price: Price | None = None,
) -> Outcome:
    """Writes the table and the files of episodes."""
    outcome = outcome_of(folder, results, baselines, price)
    starts = folder.tasks.starts

    def line(result: Result) -> dict[str, Any]:
        which, number = starts[result.task]
        task_set = folder.tasks.sets[which]
        named = {"environment": task_set.id, "seed": task_set.seeds[number], "verdict": result.verdict}
        return {**named, **result.to_dict()}

    write_lines(folder.path / LINES, map(line, results))
    for name, episodes in zip(file_names(folder.tasks), folder.episodes_by_set(), strict=True):
        write_episodes(folder.path / EPISODES / f"{name}.parquet", episodes)
    # Written last: if it exists, so do the others.
    write_file(folder.path / RESULTS, json.dumps(outcome.to_dict(), indent=1) + "\n")
    return outcome


def file_names(tasks: TaskList) -> list[str]:
    """A file name for each environment of a list; a number distinguishes those that differ only in
    arguments."""
    names: list[str] = []
    for task_set in tasks.sets:
        name = task_set.id.rpartition("/")[2]
        names.append(name if name not in names else f"{name}-{len(names)}")
    return names


def _notes(folder: Folder, results: Sequence[Result]) -> list[str]:
    """What a reader of the results must know, the gravest first."""
    notes = []
    if unplayed := folder.unplayed(results):
        planned = len(results) + unplayed
        mark = "INCOMPLETE: " if is_incomplete(unplayed, planned) else ""
        notes.append(
            f"{mark}{unplayed} of {planned} episodes have not been played: no figure and no bound covers them"
        )
    unscored = [result for result in results if not result.is_scored]
    if is_incomplete(len(unscored), len(results)):
        faults = sum(result.is_fault for result in unscored)
        missing = left_out(faults, len(results), len(unscored) - faults)
        notes.append(f"INCOMPLETE: {missing}; quote the figures with their bounds")
    starts = folder.tasks.starts
    changed = [told for result in results if (told := _mismatch(folder.tasks, starts, result))]
    if changed:
        notes.append(
            f"THESE FIGURES ARE NOT COMPARABLE with hash {folder.tasks.digest}: {len(changed)} episodes had "
            f"a task other than the listed one, so the environment has changed; {changed[0]}"
        )
    if folder.settings.shard:
        notes.append(f"this is shard {folder.settings.shard}: `ludus bench merge` joins the shards")
    notes += folder.notes
    notes += [f"{id} is left out: {reason}" for id, reason in folder.left_out.items()]
    agent = folder.settings.agent
    if agent.startswith(SEE_REWARDS):
        notes.append(
            f"{agent} looks at the rewards of copies of the environment: an upper bound, to be compared with "
            "agents that do the same"
        )
    return notes


def _mismatch(tasks: TaskList, starts: Sequence[tuple[int, int]], result: Result) -> str:
    which, number = starts[result.task]
    task_set = tasks.sets[which]
    listed, seed = task_set.tasks[number], task_set.seeds[number]
    # A fault before the task was known has no key.
    if result.key in ("", listed):
        return ""
    return f"{task_set.id} gave {result.key[:80]!r} with seed {seed}, the list has {listed[:80]!r}"
