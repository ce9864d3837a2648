"""A benchmark from beginning to end: play missing episodes, compare with the baselines, write the results."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ludus.agents.bench.baselines import BASELINES, baselines_of, cached, store
from ludus.agents.bench.directory import (
    EPISODES,
    LINES,
    RESULTS,
    SETTINGS,
    Folder,
    Settings,
    abandon,
    begin,
    open_folder,
    require_same,
    write_lines,
)
from ludus.agents.bench.journal import Journal
from ludus.agents.bench.metrics import Figures, figures
from ludus.agents.bench.play import play
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.result import Result
from ludus.agents.bench.suites import choose, require_playable
from ludus.agents.bench.tasks import TaskList, TaskSet, tasks_for
from ludus.agents.bench.worker import Job
from ludus.agents.choose import SCRIPTED, SEE_REWARDS, choose_agent
from ludus.agents.episode import Episode, StopReason
from ludus.agents.store import write_episodes
from ludus.tools.errors import UserError
from ludus.tools.files import write_file

FEWEST_FAULTS = 8
"""This many engine faults in a row end a run; more if more requests are in flight."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The request for a run."""

    suite: str
    player: PlayerChoice
    count: int | None = None
    """Tasks per environment; None: all frozen ones."""
    repeats: int = 1
    concurrency: int = 64
    default_count: int = 100
    """Number of tasks for an environment without frozen ones."""
    modules: tuple[str, ...] = ()
    """Modules to import where episodes are played, since they register environments."""


class Listener:
    """What a run reports to whoever watches; every method may be overridden."""

    def begun(self, who: str, tasks: TaskList, repeats: int, done: Sequence[Result]) -> None:
        """`who` begins to play, or continues after the existing results."""

    def played(self, result: Result) -> None:
        """An episode has finished and is stored."""

    def ended(self, who: str, episodes: int, seconds: float) -> None:
        """`episodes` were played, in `seconds`."""

    def note(self, text: str) -> None:
        """Something that a reader of the results must know."""


@dataclass(frozen=True, slots=True)
class Row:
    """One environment's metrics."""

    tasks: TaskSet
    figures: Figures
    baselines: dict[str, Figures]


@dataclass(frozen=True, slots=True)
class Outcome:
    folder: Folder
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """Caveats about the results; empty if they are comparable and complete."""
    results: tuple[Result, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        return {
            "settings": {
                name: getattr(self.folder.settings, name) for name in self.folder.settings.__slots__
            },
            "hash": self.folder.tasks.digest,
            "notes": list(self.notes),
            "left_out": self.folder.left_out,
            "environments": [
                {
                    "environment": row.tasks.id,
                    "arguments": row.tasks.arguments,
                    "hash": row.tasks.digest,
                    "figures": row.figures.to_dict(),
                    "baselines": {name: figures.to_dict() for name, figures in row.baselines.items()},
                }
                for row in self.rows
            ],
        }


def bench(plan: Plan, path: Path, listener: Listener | None = None) -> Outcome:
    """Plays the missing episodes of a run and writes its results; a run whose folder exists continues where
    it stopped.

    Episodes that ended in a fault are played again, others never.

    Raises:
        UserError: the suite, the model or the folder cannot be used, or the model stopped answering. Finished
            episodes are kept.
    """
    listener = listener or Listener()
    choose_agent(plan.player.agent, plan.player.model, plan.player.temperature)  # before anything is written
    plan = replace(plan, player=plan.player.resolved())
    folder = _folder(plan, path, listener)
    with Journal(folder.journal) as journal:
        if damage := journal.mend():
            listener.note(damage)
        results = _play_missing(plan, folder, journal, listener)
    baselines = _baselines(plan, folder.tasks, listener)
    return write_results(folder, results, baselines)


def read_outcome(path: Path) -> Outcome:
    """A run in its current state, with cached baselines; nothing is played or written.

    Raises:
        BenchError: there is no run in the folder.
    """
    folder = open_folder(path)
    known = [
        {name: played for name in baselines_of(task_set) if (played := cached(task_set, name)) is not None}
        for task_set in folder.tasks.sets
    ]
    return _outcome(folder, folder.results(), known)


def _folder(plan: Plan, path: Path, listener: Listener) -> Folder:
    if (path / SETTINGS).exists():
        folder = open_folder(path)
        if folder.is_begun or folder.settings == _settings(plan, folder.tasks):
            require_same(folder, _settings(plan, folder.tasks))
            return folder
        abandon(folder)
    chosen = choose(plan.suite)
    for id, reason in chosen.left_out.items():
        listener.note(f"{id} is left out: {reason}")
    require_playable(chosen.specs, plan.player)
    tasks = tasks_for(chosen.specs, plan.count, plan.default_count, listener.note)
    return begin(path, _settings(plan, tasks), tasks, chosen.left_out)


def _settings(plan: Plan, tasks: TaskList) -> Settings:
    player = plan.player
    return Settings(
        suite=plan.suite,
        model=player.shown,
        agent=player.agent,
        temperature=player.temperature,
        max_tokens=player.max_tokens,
        seed=player.seed,
        n=plan.count,
        repeats=plan.repeats,
        tasks=tasks.digest,
        ludus=version("ludus"),
    )


def _play_missing(plan: Plan, folder: Folder, journal: Journal, listener: Listener) -> list[Result]:
    kept = {(result.task, result.sample): result for result in folder.results()}
    whole = {place for place, result in kept.items() if not result.is_fault}
    # Task by task within each environment; the repeats of one task are asked for together, so that a server
    # with a prefix cache reads their common beginning once.
    wanted = [Job(task, sample) for task in range(len(folder.tasks.starts)) for sample in range(plan.repeats)]
    jobs = [job for job in wanted if (job.task, job.sample) not in whole]
    again = sum((job.task, job.sample) in kept for job in jobs)
    if kept and jobs:
        faults = f"; faults to play again: {again}" if again else ""
        listener.note(f"{folder.path}: {len(whole)} of {len(wanted)} episodes are already done{faults}")
    listener.begun(
        folder.settings.model, folder.tasks, plan.repeats, [kept[place] for place in sorted(whole)]
    )
    streak = 0

    def keep(line: bytes, result: Result) -> None:
        nonlocal streak
        journal.append(line)
        kept[result.task, result.sample] = result
        listener.played(result)
        streak = streak + 1 if result.stop == StopReason.ENGINE_FAULT else 0
        if streak >= max(FEWEST_FAULTS, min(plan.concurrency, len(jobs))):
            raise UserError(
                f"{folder.settings.model} no longer answers; the last of {streak} faults: {result.fault}"
            )

    seconds = play(plan.player, folder.tasks, jobs, plan.concurrency, keep, plan.modules)
    listener.ended(folder.settings.model, len(jobs), seconds)
    results = [kept[place] for place in sorted(kept)]
    if results and all(result.stop == StopReason.ENGINE_FAULT for result in results):
        raise UserError(f"{folder.settings.model} never answered: {results[-1].fault}")
    return results


def _baselines(plan: Plan, tasks: TaskList, listener: Listener) -> list[dict[str, list[Result]]]:
    """For each task set, the results of each baseline; those not cached are played now."""
    offered = [baselines_of(task_set) for task_set in tasks.sets]
    found: list[dict[str, list[Result]]] = [{} for _ in tasks.sets]
    for name in BASELINES:
        new = []
        for which, task_set in enumerate(tasks.sets):
            if name not in offered[which]:
                continue
            if (known := cached(task_set, name)) is None:
                new.append(which)
            else:
                found[which][name] = known
        played = _play_baseline(plan, TaskList(tuple(tasks.sets[which] for which in new)), name, listener)
        for which, results in zip(new, played, strict=True):
            found[which][name] = results
            if not any(result.is_fault for result in results):  # otherwise it is played again next time
                store(tasks.sets[which], name, results)
    return found


def _play_baseline(plan: Plan, tasks: TaskList, name: str, listener: Listener) -> list[list[Result]]:
    """A scripted agent's results on each of the sets, one episode per task, in the order of the tasks."""
    if not tasks.sets:
        return []
    starts = tasks.starts
    played: list[dict[int, Result]] = [{} for _ in tasks.sets]

    def keep(_: bytes, result: Result) -> None:
        which, number = starts[result.task]
        played[which][number] = replace(result, task=number)
        listener.played(result)

    who, jobs = f"baseline {name}", [Job(task, 0) for task in range(len(starts))]
    listener.begun(who, tasks, 1, [])
    seconds = play(PlayerChoice(f"{SCRIPTED}{name}"), tasks, jobs, plan.concurrency, keep, plan.modules)
    listener.ended(who, len(jobs), seconds)
    return [[results[number] for number in sorted(results)] for results in played]


def write_results(
    folder: Folder, results: Sequence[Result], baselines: Sequence[dict[str, list[Result]]]
) -> Outcome:
    """Writes the table and the files of episodes."""
    outcome = _outcome(folder, results, baselines)
    starts = folder.tasks.starts
    write_lines(
        folder.path / LINES,
        (
            {
                "environment": folder.tasks.sets[starts[result.task][0]].id,
                "seed": folder.tasks.sets[starts[result.task][0]].seeds[starts[result.task][1]],
                **result.to_dict(),
            }
            for result in results
        ),
    )
    by_set: dict[int, list[Episode]] = defaultdict(list)
    for episode in folder.episodes():
        by_set[starts[episode.group][0]].append(episode)
    for which, name in enumerate(file_names(folder.tasks)):
        write_episodes(folder.path / EPISODES / f"{name}.parquet", by_set[which])
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


def _outcome(
    folder: Folder, results: Sequence[Result], baselines: Sequence[dict[str, list[Result]]]
) -> Outcome:
    starts = folder.tasks.starts
    by_set: dict[int, list[Result]] = defaultdict(list)
    for result in results:
        by_set[starts[result.task][0]].append(result)
    rows = tuple(
        Row(
            task_set,
            figures(by_set[which]),
            {name: figures(played) for name, played in baselines[which].items()},
        )
        for which, task_set in enumerate(folder.tasks.sets)
    )
    return Outcome(folder, rows, tuple(_notes(folder, results)), tuple(results))


def _notes(folder: Folder, results: Sequence[Result]) -> list[str]:
    """What a reader of the results must know first."""
    notes = [f"{id} is left out: {reason}" for id, reason in folder.left_out.items()]
    agent = folder.settings.agent
    if agent.startswith(SEE_REWARDS):
        notes.append(
            f"{agent} looks at the rewards of copies of the environment: an upper bound, to be compared with "
            "agents that do the same"
        )
    missing = len(folder.tasks.starts) * folder.settings.repeats - len(results)
    if missing:
        notes.append(f"{missing} episodes have not been played yet")
    starts = folder.tasks.starts
    changed = [told for result in results if (told := _mismatch(folder.tasks, starts, result))]
    if changed:
        notes.append(
            f"THESE FIGURES ARE NOT COMPARABLE with hash {folder.tasks.digest}: {len(changed)} episodes had "
            f"a task other than the listed one, so the environment has changed; {changed[0]}"
        )
    return notes


def _mismatch(tasks: TaskList, starts: Sequence[tuple[int, int]], result: Result) -> str:
    which, number = starts[result.task]
    task_set = tasks.sets[which]
    listed, seed = task_set.tasks[number], task_set.seeds[number]
    if result.is_fault or result.key == listed:
        return ""
    return f"{task_set.id} gave {result.key[:80]!r} with seed {seed}, the list has {listed[:80]!r}"
