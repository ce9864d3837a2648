"""Success against tokens: a curve for each way of using the model, as a pure function of what was played."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ludus.agents.answers import Vote, final_answer, is_voted_on
from ludus.agents.scaling.estimators import Floats, best_of, majority_of
from ludus.agents.scaling.methods import REWARD, Revision, Search
from ludus.agents.scaling.trials import POOL, Record, Trial
from ludus.agents.statistics import NOTHING, Interval, bootstrap_mean
from ludus.tools.wording import counted

Family = Literal["single", "majority", "best-of", "beam", "mcts", "revision"]
SINGLE, MAJORITY = "single sample", "majority vote"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """A curve task by task: [T, P] for T tasks and P budgets, the means over a task's repeats."""

    curve: str
    family: Family
    by: str
    """What it goes by: `reward`, a scorer's name, or nothing."""
    settings: tuple[str, ...]
    """The budgets, in words."""
    tasks: tuple[int, ...]
    """The tasks' seeds."""
    success_TP: Floats
    sampled_TP: Floats
    """Tokens that the model sampled."""
    read_TP: Floats
    """Tokens that it read."""
    judged_TP: Floats
    """Tokens that scorers spent."""

    @property
    def sees_rewards(self) -> bool:
        """Whether it looks at what the environment pays, so that its success is an upper bound."""
        return self.by == REWARD

    def at(self, points: Sequence[int]) -> "Outcomes":
        """The same with these budgets only."""
        kept = list(points)
        return replace(
            self,
            settings=tuple(self.settings[point] for point in kept),
            success_TP=self.success_TP[:, kept],
            sampled_TP=self.sampled_TP[:, kept],
            read_TP=self.read_TP[:, kept],
            judged_TP=self.judged_TP[:, kept],
        )


@dataclass(frozen=True, slots=True)
class Point:
    """A budget of a curve; means over tasks."""

    setting: str
    success: Interval
    """95%, a bootstrap over tasks."""
    sampled: float
    read: float
    judged: float
    over_majority: Interval
    """Its success less that of the majority vote at as many sampled tokens."""


@dataclass(frozen=True, slots=True)
class Curve:
    name: str
    family: Family
    by: str
    sees_rewards: bool
    tasks: int
    points: tuple[Point, ...]


def difference_at_equal_tokens(one: Outcomes, point: int, other: Outcomes) -> Interval:
    """Success of one method less that of another which spends as many sampled tokens on average: of the two
    budgets around, each is taken with the chance that makes it so. Paired by task, with a bootstrap over
    tasks; nothing where the other's budgets do not reach that far.

    Args:
        one: The first method.
        point: Which of its budgets.
        other: The second, its budgets in ascending order.
    """
    shared = sorted({*one.tasks} & {*other.tasks})
    if not shared:
        return NOTHING
    ones = [one.tasks.index(task) for task in shared]
    others = [other.tasks.index(task) for task in shared]
    tokens, spent_P = one.sampled_TP[ones, point].mean(), other.sampled_TP[others].mean(axis=0)
    if not 0 < spent_P[0] * (1 - 1e-9) <= tokens <= spent_P[-1] * (1 + 1e-9):
        return NOTHING
    matched_T = [float(np.interp(tokens, spent_P, success_P)) for success_P in other.success_TP[others]]
    return bootstrap_mean((one.success_TP[ones, point] - np.array(matched_T)).tolist())


def curves(outcomes: Sequence[Outcomes]) -> tuple[Curve, ...]:
    """The curves, with bands; of those that have a budget for each number of samples, about two for each
    doubling."""
    vote = next((one for one in outcomes if one.curve == MAJORITY), None)
    return tuple(_curve(one.at(_shown(one)), vote) for one in outcomes)


def _curve(one: Outcomes, vote: Outcomes | None) -> Curve:
    points = []
    for point, setting in enumerate(one.settings):
        against = NOTHING
        if vote is not None and one.curve != vote.curve:
            against = difference_at_equal_tokens(one, point, vote)
        points.append(
            Point(
                setting,
                bootstrap_mean(one.success_TP[:, point].tolist()),
                float(one.sampled_TP[:, point].mean()),
                float(one.read_TP[:, point].mean()),
                float(one.judged_TP[:, point].mean()),
                against,
            )
        )
    return Curve(one.curve, one.family, one.by, one.sees_rewards, len(one.tasks), tuple(points))


def _shown(one: Outcomes) -> list[int]:
    budgets = len(one.settings)
    if one.family not in ("majority", "best-of"):
        return list(range(budgets))
    halves = {round(2 ** (half / 2)) for half in range(2 * budgets.bit_length() + 1)}
    return [number - 1 for number in sorted(halves | {budgets}) if number <= budgets]


def outcomes(
    record: Record,
    tasks: Sequence[int],
    samples: int,
    scorers: Sequence[str],
    searches: Sequence[Search],
    revisions: Sequence[Revision],
    repeats: int,
) -> list[Outcomes]:
    """Everything that the record has of these methods. A task counts for a curve if all of it was played and
    scored; a curve without tasks is left out."""
    pool = {seed: [record.trials.get((POOL, seed, sample)) for sample in range(samples)] for seed in tasks}
    whole = {seed: played for seed, trials in pool.items() if (played := _scored(trials)) is not None}
    return [
        one
        for one in (
            *_of_pool(whole, record, scorers),
            *_of_searches(record, tasks, searches, repeats),
            *(_of_revision(record, pool, revision, repeats) for revision in revisions),
        )
        if one.tasks
    ]


def _of_pool(pool: Mapping[int, list[Trial]], record: Record, scorers: Sequence[str]) -> Iterable[Outcomes]:
    def of_subsets(curve: str, family: Family, by: str, values: Mapping[int, Floats]) -> Outcomes:
        """From the success of 1 to n samples of each task."""
        tokens = record.scores if by not in ("", REWARD) else {}
        chosen = {seed: pool[seed] for seed in values}
        n = len(next(iter(chosen.values()), ()))
        counts_P = np.arange(1, n + 1)
        judged = {
            seed: float(np.mean([tokens[by, seed, trial.episode.sample].tokens for trial in trials]))
            for seed, trials in chosen.items()
            if tokens
        }
        return Outcomes(
            curve,
            family,
            by,
            tuple(f"{'k' if family == 'majority' else 'n'} = {k}" for k in counts_P),
            tuple(chosen),
            np.array([*values.values()]).reshape(len(chosen), n),
            _spent(chosen, lambda trial: trial.sampled)[:, None] * counts_P,
            _spent(chosen, lambda trial: trial.read)[:, None] * counts_P,
            np.array([judged.get(seed, 0.0) for seed in chosen])[:, None] * counts_P,
        )

    def of_scores(by: str, scores: Mapping[int, list[float]]) -> Outcomes:
        values = {seed: best_of(scores[seed], _won(pool[seed])) for seed in scores}
        return of_subsets(f"best of n by {by}", "best-of", by, values)

    single = {seed: np.full(len(trials), np.mean(_won(trials))) for seed, trials in pool.items()}
    if not single:
        return
    yield replace(of_subsets(SINGLE, "single", "", single).at([0]), settings=("",))
    votes = {
        seed: [Vote(final_answer(trial.episode), trial.episode.success) for trial in trials]
        for seed, trials in pool.items()
    }
    if is_voted_on([vote for of_task in votes.values() for vote in of_task]):
        yield of_subsets(
            MAJORITY, "majority", "", {seed: majority_of(of_task) for seed, of_task in votes.items()}
        )
    yield of_scores(
        REWARD,
        {seed: [trial.episode.episode_return for trial in trials] for seed, trials in pool.items()},
    )
    for scorer in scorers:
        found = {
            seed: [record.scores.get((scorer, seed, trial.episode.sample)) for trial in trials]
            for seed, trials in pool.items()
        }
        yield of_scores(
            scorer,
            {
                seed: [score.value for score in scores if score]
                for seed, scores in found.items()
                if all(scores)
            },
        )


def _of_searches(
    record: Record, tasks: Sequence[int], searches: Sequence[Search], repeats: int
) -> Iterable[Outcomes]:
    by_curve: dict[str, list[Search]] = {}
    for search in searches:
        by_curve.setdefault(search.curve, []).append(search)
    for curve, sizes in by_curve.items():
        found: dict[int, list[list[Trial]]] = {}
        for seed in tasks:
            played = [
                _scored([record.trials.get((search.name, seed, sample)) for sample in range(repeats)])
                for search in sizes
            ]
            if all(played):
                found[seed] = [trials for trials in played if trials]
        what = "width" if sizes[0].kind == "beam" else "simulations"
        yield Outcomes(
            curve,
            sizes[0].kind,
            sizes[0].by,
            tuple(f"{what} {search.size}" for search in sizes),
            tuple(found),
            *(_means(found, take) for take in (_success, *_TOKENS)),
        )


def _of_revision(
    record: Record, pool: Mapping[int, list[Trial | None]], revision: Revision, repeats: int
) -> Outcomes:
    """Attempt by attempt, what the latest is worth and all have cost. Who is told that it was right stops."""
    found: dict[int, list[list[tuple[float, ...]]]] = {}
    for seed, first in pool.items():
        chains = []
        for sample in range(min(repeats, len(first))):
            trial, spent, chain = first[sample], np.zeros(len(_TOKENS)), list[tuple[float, ...]]()
            for number in range(revision.times + 1):
                is_over = revision.feedback and number > 0 and bool(chain[-1][0])
                if number and not is_over:
                    trial = record.trials.get((revision.name(number), seed, sample))
                if trial is None or not trial.episode.is_scored:
                    break
                if not is_over:
                    spent = spent + [take(trial) for take in _TOKENS]
                chain.append((_success(trial), *spent.tolist()))
            chains.append(chain)
        if all(len(chain) == revision.times + 1 for chain in chains):
            found[seed] = chains
    arrays_TCP = np.array(
        [np.mean(chains, axis=0).T for chains in found.values()],
    ).reshape(len(found), 1 + len(_TOKENS), revision.times + 1)
    return Outcomes(
        revision.curve,
        "revision",
        REWARD if revision.feedback else "",
        tuple(counted(number, "revision") for number in range(revision.times + 1)),
        tuple(found),
        *(arrays_TCP[:, which] for which in range(1 + len(_TOKENS))),
    )


def _scored(trials: Sequence[Trial | None]) -> list[Trial] | None:
    """All of them, if all were played and have a score."""
    found = [trial for trial in trials if trial is not None and trial.episode.is_scored]
    return found if len(found) == len(trials) else None


def _won(trials: Sequence[Trial]) -> list[bool]:
    return [trial.episode.success for trial in trials]


def _success(trial: Trial) -> float:
    return float(trial.episode.success)


_TOKENS: tuple[Callable[[Trial], float], ...] = (
    lambda trial: trial.sampled,
    lambda trial: trial.read,
    lambda trial: trial.judged,
)


def _spent(pool: Mapping[int, Sequence[Trial]], take: Callable[[Trial], float]) -> Floats:
    """Per sample, for each task, [T]."""
    return np.array([np.mean([take(trial) for trial in trials]) for trials in pool.values()])


def _means(found: Mapping[int, list[list[Trial]]], take: Callable[[Trial], float]) -> Floats:
    """Over the repeats, for each task and budget, [T, P]."""
    rows = [[np.mean([take(trial) for trial in trials]) for trials in points] for points in found.values()]
    return np.array(rows, dtype=np.float64)
