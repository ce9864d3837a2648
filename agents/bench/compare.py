"""Two runs on the same tasks: differences task by task, with intervals from a bootstrap over tasks."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.agents.bench.directory import BenchError, Folder
from ludus.agents.bench.result import Result
from ludus.agents.evaluate import Interval, bootstrap_mean, left_out

Place = tuple[str, str, int, str]
"""A task: environment, its arguments, seed, content key."""


@dataclass(frozen=True, slots=True)
class Difference:
    """B minus A on the tasks that both have results for."""

    environment: str
    arguments: dict[str, Any]
    tasks: int
    a_reward: float
    b_reward: float
    reward: Interval
    a_success: float
    b_success: float
    success: Interval
    better: int
    """Tasks on which B succeeds more often."""
    worse: int


@dataclass(frozen=True, slots=True)
class Comparison:
    differences: tuple[Difference, ...]
    """By environment; if there are several, one more, named `all`, over everything. Each task counts once."""
    notes: tuple[str, ...]
    """What a reader must know first."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "notes": list(self.notes),
            "differences": [
                {name: _plain(getattr(difference, name)) for name in difference.__slots__}
                for difference in self.differences
            ],
        }


def compare(a: Folder, b: Folder) -> Comparison:
    """
    Raises:
        BenchError: the runs have no task in common.
    """
    results_a, results_b = a.results(), b.results()
    left, right = _by_place(a, results_a), _by_place(b, results_b)
    listed_a, listed_b = _places(a), _places(b)
    other = {*listed_b}
    common = [place for place in listed_a if place in other]
    notes = []
    if a.tasks.digest != b.tasks.digest:
        if not common:
            raise BenchError(
                f"{a.path} was played on the tasks {a.tasks.digest}, {b.path} on {b.tasks.digest}, and they "
                "have no task in common: play both on one list"
            )
        notes.append(
            f"THE TASK LISTS DIFFER: {a.tasks.digest} has {len(listed_a)} tasks, {b.tasks.digest} has "
            f"{len(listed_b)}. Only the {len(common)} tasks in both are compared"
        )
    if a.settings.ludus != b.settings.ludus:
        notes.append(f"the versions of Ludus differ: {a.settings.ludus}, {b.settings.ludus}")
    for folder, results in ((a, results_a), (b, results_b)):
        if missing := left_out(sum(result.is_fault for result in results), len(results)):
            notes.append(f"{folder.path}: {missing}")
    both = [place for place in common if place in left and place in right]
    if len(both) < len(common):
        notes.append(
            f"{len(common) - len(both)} tasks are left out: one of the runs has no results for them, "
            "or only faults"
        )
    if not both:
        raise BenchError(f"{a.path} and {b.path} have no task on which both have a result: finish them first")
    groups: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for place in both:
        groups[place[:2]].append(place)
    found = [
        _difference(environment, json.loads(arguments), places, left, right)
        for (environment, arguments), places in groups.items()
    ]
    if len(found) > 1:
        found.append(_difference("all", {}, both, left, right))
    return Comparison(tuple(found), tuple(notes))


def _difference(
    environment: str,
    arguments: dict[str, Any],
    places: list[Place],
    left: dict[Place, list[Result]],
    right: dict[Place, list[Result]],
) -> Difference:
    rewards, successes = (
        [
            [_mean([float(getattr(r, name)) for r in side[place]]) for place in places]
            for side in (left, right)
        ]
        for name in ("reward", "success")
    )
    gained = [b - a for a, b in zip(*successes, strict=True)]
    return Difference(
        environment=environment,
        arguments=arguments,
        tasks=len(places),
        a_reward=_mean(rewards[0]),
        b_reward=_mean(rewards[1]),
        reward=bootstrap_mean([b - a for a, b in zip(*rewards, strict=True)]),
        a_success=_mean(successes[0]),
        b_success=_mean(successes[1]),
        success=bootstrap_mean(gained),
        better=sum(gain > 0 for gain in gained),
        worse=sum(gain < 0 for gain in gained),
    )


def _places(folder: Folder) -> list[Place]:
    return [
        (listed.id, json.dumps(listed.arguments, sort_keys=True), seed, task)
        for listed in folder.tasks.sets
        for seed, task in zip(listed.seeds, listed.tasks, strict=True)
    ]


def _by_place(folder: Folder, results: list[Result]) -> dict[Place, list[Result]]:
    """The results without faults, by task; if the environment gave a task other than the listed one, by the
    task it gave."""
    places = _places(folder)
    found: dict[Place, list[Result]] = defaultdict(list)
    for result in results:
        if not result.is_fault:
            found[(*places[result.task][:3], result.key)].append(result)
    return found


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return {"value": value.value, "low": value.low, "high": value.high}
    return value
