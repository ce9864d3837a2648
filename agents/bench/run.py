"""A benchmark from beginning to end: play missing episodes, compare with the baselines, write the results."""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ludus.agents.bench.baselines import BASELINES, baselines_of, cached, store
from ludus.agents.bench.directory import (
    SETTINGS,
    Folder,
    Settings,
    abandon,
    begin,
    open_folder,
    require_same,
)
from ludus.agents.bench.outcome import Outcome, outcome_of, write_results
from ludus.agents.bench.play import play
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.prices import Price, price_of
from ludus.agents.bench.result import Result
from ludus.agents.bench.suites import choose, require_playable
from ludus.agents.bench.tasks import Shard, TaskList, require_current, tasks_for
from ludus.agents.bench.worker import Job
from ludus.agents.choose import SCRIPTED, choose_agent
from ludus.agents.engines.options import ServerListener
from ludus.agents.episode import StopReason
from ludus.agents.journal import Journal
from ludus.agents.rollout import EnvironmentSpec
from ludus.tools.errors import UserError

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
    shard: Shard | None = None
    """The share of the tasks to play; None: all."""
    prices: Mapping[str, Price] | None = None
    """By model; see `ludus.agents.bench.prices`."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments for the environments that take them."""
    trained: Sequence[EnvironmentSpec] = ()
    """What the player was trained on: its arguments hold where the suite names that environment by its id."""
    modules: tuple[str, ...] = ()
    """Modules to import where episodes are played, since they register environments."""


class Listener(ServerListener):
    """What a run reports to whoever watches; every method may be overridden."""

    def begun(self, who: str, tasks: TaskList, repeats: int, done: Sequence[Result]) -> None:
        """`who` begins to play, or continues after the existing results."""

    def played(self, result: Result) -> None:
        """An episode has finished and is stored."""

    def ended(self, who: str, episodes: int, seconds: float) -> None:
        """`episodes` were played, in `seconds`."""


class _Noting(ServerListener):
    """Keeps what a server's client notes in the folder, and passes it on once."""

    def __init__(self, folder: Folder, listener: Listener) -> None:
        self._folder = folder
        self._listener = listener

    def paced(self, text: str) -> None:
        self._listener.paced(text)

    def note(self, text: str) -> None:
        if self._folder.note(text):
            self._listener.note(text)


def bench(plan: Plan, path: Path, listener: Listener | None = None) -> Outcome:
    """Plays the missing episodes of a run and writes its results; a run whose folder exists continues where
    it stopped.

    Episodes that ended in a fault are played again, others never, those that the server refused among them.

    Raises:
        UserError: the suite, the model or the folder cannot be used, or the model stopped answering. Finished
            episodes are kept.
    """
    listener = listener or Listener()
    choose_agent(plan.player.agent, plan.player.model, plan.player.temperature)  # before anything is written
    plan = replace(plan, player=plan.player.resolved())
    price = None if plan.prices is None else price_of(plan.prices, plan.player.shown)
    folder = _folder(plan, path, listener)
    with Journal(folder.journal) as journal:
        if damage := journal.mend():
            listener.note(damage)
        results = _play_missing(plan, folder, journal, listener)
    baselines = play_baselines(folder.tasks, listener, plan.concurrency, plan.modules)
    return write_results(folder, results, baselines, price)


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
    return outcome_of(folder, folder.results(), known)


def _folder(plan: Plan, path: Path, listener: Listener) -> Folder:
    if (path / SETTINGS).exists():
        folder = open_folder(path)
        if folder.is_begun or folder.settings == _settings(plan, folder.tasks):
            require_same(folder, _settings(plan, folder.tasks))
            return folder
        abandon(folder)
    chosen = choose(plan.suite, plan.arguments, plan.trained)
    for id, reason in chosen.left_out.items():
        listener.note(f"{id} is left out: {reason}")
    require_playable(chosen.specs, plan.player)
    tasks = tasks_for(chosen.specs, plan.count, plan.default_count, listener.note)
    folder = begin(path, _settings(plan, tasks), tasks, chosen.left_out)
    for note in chosen.notes:
        folder.note(note)
        listener.note(note)
    return folder


def _settings(plan: Plan, tasks: TaskList) -> Settings:
    player = plan.player
    options = player.recorded()
    if plan.arguments:
        options["arguments"] = dict(plan.arguments)
    trained = [{"id": spec.id, "arguments": spec.arguments} for spec in plan.trained if spec.arguments]
    if trained:
        options["trained"] = trained[0] if len(trained) == 1 else trained
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
        shard=str(plan.shard or ""),
        options=json.loads(json.dumps(options)),  # as it is read back
    )


def _play_missing(plan: Plan, folder: Folder, journal: Journal, listener: Listener) -> list[Result]:
    kept = {(result.task, result.sample): result for result in folder.results()}
    whole = {place for place, result in kept.items() if not result.is_fault}
    # Task by task within each environment; the repeats of one task are asked for together, so that a server
    # with a prefix cache reads their common beginning once.
    wanted = [Job(task, sample) for task in folder.own_tasks for sample in range(plan.repeats)]
    jobs = [job for job in wanted if (job.task, job.sample) not in whole]
    again = sum((job.task, job.sample) in kept for job in jobs)
    if jobs:
        require_current(folder.tasks)
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

    noting = _Noting(folder, listener)
    player = replace(plan.player, day=datetime.date.fromisoformat(folder.begun))
    seconds = play(player, folder.tasks, jobs, plan.concurrency, keep, plan.modules, noting)
    listener.ended(folder.settings.model, len(jobs), seconds)
    results = [kept[place] for place in sorted(kept)]
    if results and all(result.stop == StopReason.ENGINE_FAULT for result in results):
        raise UserError(f"{folder.settings.model} never answered: {results[-1].fault}")
    return results


def play_baselines(
    tasks: TaskList, listener: Listener, concurrency: int = 64, modules: Sequence[str] = ()
) -> list[dict[str, list[Result]]]:
    """For each task set, the results of each baseline; those not cached are played now."""
    offered = [baselines_of(task_set) for task_set in tasks.sets]
    found: list[dict[str, list[Result]]] = [{} for _ in tasks.sets]
    for name in BASELINES:
        new = []
        for which, task_set in enumerate(tasks.sets):
            if name not in offered[which] or not task_set.is_current:
                continue
            if (known := cached(task_set, name)) is None:
                new.append(which)
            else:
                found[which][name] = known
        missing = TaskList(tuple(tasks.sets[which] for which in new))
        played = _play_baseline(missing, name, listener, concurrency, modules)
        for which, results in zip(new, played, strict=True):
            found[which][name] = results
            if not any(result.is_fault for result in results):  # otherwise it is played again next time
                store(tasks.sets[which], name, results)
    return found


def _play_baseline(
    tasks: TaskList, name: str, listener: Listener, concurrency: int, modules: Sequence[str]
) -> list[list[Result]]:
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
    seconds = play(PlayerChoice(f"{SCRIPTED}{name}"), tasks, jobs, concurrency, keep, modules)
    listener.ended(who, len(jobs), seconds)
    return [[results[number] for number in sorted(results)] for results in played]
