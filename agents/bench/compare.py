"""Two runs on the same tasks: differences task by task, with intervals from a bootstrap over tasks."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ludus.agents.bench.directory import BenchError, Folder
from ludus.agents.bench.result import Result
from ludus.agents.evaluate import left_out
from ludus.agents.statistics import Bounds, Interval, bootstrap_mean, mean, plain, sign_flip_p

Place = tuple[str, str, int, str]
"""A task: environment, its arguments, seed, content key."""


@dataclass(frozen=True, slots=True)
class Difference:
    """B minus A on the tasks that both have a score for."""

    environment: str
    arguments: dict[str, Any]
    tasks: int
    a_scored: int
    """Episodes of A with a score, on all tasks that are in both lists."""
    b_scored: int
    a_episodes: int
    """Episodes of A that its plan has on those tasks."""
    b_episodes: int
    a_reward: float
    b_reward: float
    reward: Interval
    a_success: float
    b_success: float
    a_bounds: Bounds
    """Success of A on all tasks in both lists, episodes without a score counted as failures, and as
    successes."""
    b_bounds: Bounds
    success: Interval
    p: float
    """p-value of the difference in success: random changes of sign, task by task."""
    better: int
    """Tasks on which B succeeds more often."""
    worse: int

    @property
    def winner(self) -> str:
        """`A` or `B`; `undecided`, if episodes without a score could turn it around; empty if the difference
        may be chance: its interval contains zero, or its p-value is above 0.05."""
        if not self.success.excludes_zero or self.p > 0.05:
            return ""
        name, lower, upper = "B", self.a_bounds, self.b_bounds
        if self.success.value < 0:
            name, lower, upper = "A", self.b_bounds, self.a_bounds
        return name if upper.low > lower.high else "undecided"


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
                {name: plain(getattr(difference, name)) for name in (*difference.__slots__, "winner")}
                for difference in self.differences
            ],
        }


def compare(a: Folder, b: Folder) -> Comparison:
    """
    Raises:
        BenchError: the runs have no task in common.
    """
    sides = [Side.of(a), Side.of(b)]
    both_list = [place for place in sides[0].places if place in sides[1].places]
    notes = []
    if a.tasks.digest != b.tasks.digest:
        if not both_list:
            raise BenchError(
                f"{a.path} was played on the tasks {a.tasks.digest}, {b.path} on {b.tasks.digest}, and they "
                "have no task in common: play both on one list"
            )
        notes.append(
            f"THE TASK LISTS DIFFER: {a.tasks.digest} has {len(sides[0].places)} tasks, {b.tasks.digest} has "
            f"{len(sides[1].places)}. Only the {len(both_list)} tasks in both are compared"
        )
    if a.settings.ludus != b.settings.ludus:
        notes.append(f"the versions of Ludus differ: {a.settings.ludus}, {b.settings.ludus}")
    notes += unscored_notes([a, b], sides)
    scored = [place for place in both_list if all(side.scored.get(place) for side in sides)]
    if len(scored) < len(both_list):
        notes.append(
            f"{len(both_list) - len(scored)} tasks have no score in one of the runs: they count in the "
            "bounds alone"
        )
    if not scored:
        raise BenchError(f"{a.path} and {b.path} have no task on which both have a score: finish them first")
    groups: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for place in both_list:
        groups[place[:2]].append(place)
    found = [
        _difference(environment, json.loads(arguments), places, sides)
        for (environment, arguments), places in groups.items()
        if any(place in scored for place in places)
    ]
    if len(found) > 1:
        found.append(_difference("all", {}, both_list, sides))
    return Comparison(tuple(found), tuple(notes))


@dataclass(frozen=True, slots=True)
class Side:
    """A run, ready to be compared with others."""

    places: dict[Place, None]
    """Its task list, in order."""
    repeats: int
    results: list[Result]
    scored: dict[Place, list[Result]]
    """The results with a score, by task; if the environment gave a task other than the listed one, by the
    task it gave."""

    @classmethod
    def of(cls, folder: Folder) -> "Side":
        places = places_of(folder)
        results = folder.results()
        scored: dict[Place, list[Result]] = defaultdict(list)
        for result in results:
            if result.is_scored:
                scored[(*places[result.task][:3], result.key)].append(result)
        return cls(dict.fromkeys(places), folder.settings.repeats, results, dict(scored))

    def known(self, places: Sequence[Place]) -> list[Place]:
        """Those of the tasks that have a score."""
        return [place for place in places if self.scored.get(place)]

    def means(self, places: Sequence[Place], name: str) -> list[float]:
        return [mean([float(getattr(result, name)) for result in self.scored[place]]) for place in places]

    def bounds(self, places: Sequence[Place]) -> Bounds:
        won = [sum(result.success for result in self.scored.get(place, ())) for place in places]
        unscored = [self.repeats - len(self.scored.get(place, ())) for place in places]
        return Bounds(
            mean([c / self.repeats for c in won]),
            mean([(c + u) / self.repeats for c, u in zip(won, unscored, strict=True)]),
        )

    def count(self, places: Sequence[Place]) -> int:
        return sum(len(self.scored.get(place, ())) for place in places)


def unscored_notes(folders: Sequence[Folder], sides: Sequence[Side]) -> list[str]:
    """For each run that lacks scores: how many, and why."""
    notes = []
    for folder, side in zip(folders, sides, strict=True):
        faults = sum(result.is_fault for result in side.results)
        refusals = sum(result.is_refusal for result in side.results)
        if missing := left_out(faults, len(side.results), refusals):
            notes.append(f"{folder.path}: {missing}")
        if unplayed := folder.unplayed(side.results):
            planned = len(side.results) + unplayed
            notes.append(f"{folder.path}: {unplayed} of {planned} episodes have not been played")
    return notes


def places_of(folder: Folder) -> list[Place]:
    """The folder's tasks, in the order of the list."""
    return [
        (listed.id, json.dumps(listed.arguments, sort_keys=True), seed, task)
        for listed in folder.tasks.sets
        for seed, task in zip(listed.seeds, listed.tasks, strict=True)
    ]


def _difference(
    environment: str, arguments: dict[str, Any], listed: list[Place], sides: Sequence[Side]
) -> Difference:
    a, b = sides
    places = [place for place in listed if all(side.scored.get(place) for side in sides)]
    a_reward, b_reward = (side.means(places, "reward") for side in sides)
    a_success, b_success = (side.means(places, "success") for side in sides)
    gained = [right - left for left, right in zip(a_success, b_success, strict=True)]
    return Difference(
        environment=environment,
        arguments=arguments,
        tasks=len(places),
        a_scored=a.count(listed),
        b_scored=b.count(listed),
        a_episodes=a.repeats * len(listed),
        b_episodes=b.repeats * len(listed),
        a_reward=mean(a_reward),
        b_reward=mean(b_reward),
        reward=bootstrap_mean([right - left for left, right in zip(a_reward, b_reward, strict=True)]),
        a_success=mean(a_success),
        b_success=mean(b_success),
        a_bounds=a.bounds(listed),
        b_bounds=b.bounds(listed),
        success=bootstrap_mean(gained),
        p=sign_flip_p(gained),
        better=sum(gain > 1e-12 for gain in gained),
        worse=sum(gain < -1e-12 for gain in gained),
    )
