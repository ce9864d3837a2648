"""A leaderboard: several runs on the same tasks, each compared with the best one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ludus.agents.bench.compare import Place, Side, places_of, unscored_notes
from ludus.agents.bench.directory import BenchError, Folder
from ludus.agents.bench.prices import Price
from ludus.agents.statistics import (
    Bounds,
    Interval,
    bootstrap_mean,
    clustered_share,
    holm,
    holm_levels,
    mean,
    plain,
    sign_flip_p,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One run's line."""

    name: str
    """Its model and, if it is not `direct`, its agent."""
    folder: Folder
    success: Interval
    """Over the tasks of all runs; each task counts once."""
    bounds: Bounds
    """Success if episodes without a score are failures, and if they are successes."""
    environments: tuple[Interval, ...]
    """Success by environment, in the order of the board's `environments`."""
    reward: float
    scored: int
    episodes: int
    """What its plan has on these tasks."""
    faults: int
    refusals: int
    cost: float | None
    """US dollars for everything that it played; None without a price."""
    behind: Interval | None
    """Success minus that of the best, task by task, at the level that `holm` asks for; None for the best."""
    p: float | None
    """p-value of that difference, corrected for the number of runs (Holm)."""

    def standing(self, best: "Entry") -> str:
        """`best`; `behind` if the difference is significant; `undecided` if it is, but episodes without a
        score could turn it around; `not significant`."""
        if self.behind is None or self.p is None:
            return "best"
        if self.p > 0.05 or not self.behind.high < 0:
            return "not significant"
        return "behind" if self.bounds.high < best.bounds.low else "undecided"


@dataclass(frozen=True, slots=True)
class Board:
    entries: tuple[Entry, ...]
    """The best first."""
    environments: tuple[str, ...]
    tasks: int
    hash: str
    """Of the task list; empty if the runs have different ones."""
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        best = self.entries[0]
        return {
            "notes": list(self.notes),
            "hash": self.hash,
            "tasks": self.tasks,
            "entries": [
                {
                    "name": entry.name,
                    "folder": str(entry.folder.path),
                    "standing": entry.standing(best),
                    "environments": dict(zip(self.environments, map(plain, entry.environments), strict=True)),
                    **{
                        name: plain(getattr(entry, name))
                        for name in entry.__slots__
                        if name not in ("name", "folder", "environments")
                    },
                }
                for entry in self.entries
            ],
        }


def board(folders: Sequence[Folder], prices: dict[str, Price] | None = None) -> Board:
    """
    Raises:
        BenchError: there are fewer than two runs, or they have no task in common.
    """
    if len(folders) < 2:
        raise BenchError("a board needs at least two runs")
    sides = [Side.of(folder) for folder in folders]
    places = [place for place in sides[0].places if all(place in side.places for side in sides)]
    notes = []
    hashes = {folder.tasks.digest for folder in folders}
    if len(hashes) > 1:
        if not places:
            raise BenchError("the runs have no task in common: play all of them on one list")
        notes.append(
            f"THE TASK LISTS DIFFER: {', '.join(f'{f.path.name} has {f.tasks.digest}' for f in folders)}. "
            f"Only the {len(places)} tasks in all of them count"
        )
    versions = {folder.settings.ludus for folder in folders}
    if len(versions) > 1:
        notes.append(f"the versions of Ludus differ: {', '.join(sorted(versions))}")
    notes += unscored_notes(folders, sides)
    environments = list(dict.fromkeys(place[:2] for place in places))
    means = [{place: side.means([place], "success")[0] for place in side.known(places)} for side in sides]
    order = sorted(range(len(sides)), key=lambda i: -mean([*means[i].values()] or [-1.0]))
    best = order[0]
    gaps = {
        i: [means[i][place] - means[best][place] for place in means[i] if place in means[best]]
        for i in order[1:]
    }
    p_values = [sign_flip_p(gaps[i]) for i in order[1:]]
    corrected = dict(zip(order[1:], holm(p_values), strict=True))
    levels = dict(zip(order[1:], holm_levels(p_values), strict=True))
    entries = tuple(
        _entry(
            folders[i],
            sides[i],
            places,
            [[place for place in places if place[:2] == environment] for environment in environments],
            bootstrap_mean(gaps[i], levels[i]) if i in gaps else None,
            corrected.get(i),
            prices,
        )
        for i in order
    )
    titles = tuple(id if arguments == "{}" else f"{id}({arguments})" for id, arguments in environments)
    return Board(entries, titles, len(places), hashes.pop() if len(hashes) == 1 else "", tuple(notes))


def _entry(
    folder: Folder,
    side: Side,
    places: Sequence[Place],
    by_environment: Sequence[Sequence[Place]],
    behind: Interval | None,
    p: float | None,
    prices: dict[str, Price] | None,
) -> Entry:
    settings = folder.settings
    name = settings.model.rpartition("#")[2] or settings.model
    listed, common = places_of(folder), set(places)
    played = [result for result in side.results if listed[result.task] in common]
    price = None if prices is None else prices.get(name) or prices.get(settings.model)
    return Entry(
        name=name if settings.agent == "direct" else f"{name} · {settings.agent}",
        folder=folder,
        success=_success(side, places),
        bounds=side.bounds(places),
        environments=tuple(_success(side, members) for members in by_environment),
        reward=mean(side.means(side.known(places), "reward")),
        scored=side.count(places),
        episodes=side.repeats * len(places),
        faults=sum(result.is_fault for result in played),
        refusals=sum(result.is_refusal for result in played),
        cost=None if price is None else sum(map(price.of, side.results)),
        behind=behind,
        p=p,
    )


def _success(side: Side, places: Sequence[Place]) -> Interval:
    return clustered_share(side.means(side.known(places), "success"), side.count(places))
