"""Metrics from results, with 95% intervals that account for the dependence between repeats of a task.

Every metric is a mean over tasks of a per-task value, so the bootstrap draws tasks, with all their repeats
(B. Efron, Annals of Statistics 7, 1979; the cluster bootstrap). Shares are often 0 or 1, where a bootstrap
interval would have no width, so they get Wilson's interval at the effective sample size
(`ludus.agents.statistics.clustered_share`).

Episodes without a score (faults, refusals of the server) are left out of the estimates. As they may not be
like the others, each share of successes has bounds beside it, over all tasks: without a score counted as
failures, and as successes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.agents.answers import Vote, is_voted_on, majority
from ludus.agents.bench.prices import Price
from ludus.agents.bench.result import ERROR_KINDS, VERDICTS, Result
from ludus.agents.pass_at import (
    Share,
    Trials,
    numbers_of_samples,
    pass_at_k,
    pass_hat_k,
    share_at,
    success_share,
)
from ludus.agents.statistics import Bounds, Interval, bootstrap_mean, clustered_share, mean, plain

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Figures:
    """All estimates cover only the episodes with a score."""

    tasks: int
    """Tasks with at least one scored episode."""
    episodes: int
    """All that were played."""
    scored: int
    faults: int
    refusals: int
    reward: Interval
    success: Interval
    success_bounds: Bounds
    repeats: int
    """The most episodes of any one task: the k of the next three."""
    pass_at: dict[int, Share]
    """k → chance that at least one of k samples succeeds (M. Chen et al., 2021)."""
    pass_hat: dict[int, Share]
    """k → chance that all of k samples succeed (S. Yao et al., τ-bench, 2024)."""
    majority: Share | None
    """Success of the most common answer among a task's samples; None if there is no answer to vote on."""
    turns: float
    prompt_tokens: float
    completion_tokens: float
    reasoning_tokens: float
    cached_tokens: float
    seconds: float
    """Seconds per episode, generation and steps together; a mean, like the five before."""
    model_seconds: float
    turn_seconds: dict[int, float]
    """Percentile → seconds that the model took for a turn, over all turns."""
    calls: float
    errors: dict[str, int]
    """Total number of failed tool calls, by kind."""
    cut: int
    """Replies that the token limit cut off."""
    malformed: int
    """Replies that the server itself refused as malformed."""
    verdicts: dict[str, int]
    """How many episodes became what; every episode counts once."""
    stops: dict[str, int]
    cost: float | None
    """US dollars for all episodes, without a score or not: by the prices, else what the server itself says;
    None if neither is known."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: nan becomes None."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}


def figures(results: Iterable[Result], price: Price | None = None) -> Figures:
    results = list(results)
    scored = [result for result in results if result.is_scored]
    faults = sum(result.is_fault for result in results)
    groups = _groups(results)
    kept = [group for group in groups if group.scored]
    repeats = max((group.size for group in groups), default=0)
    samples = numbers_of_samples(repeats)
    trials = [group.trials for group in groups]
    success = success_share(trials)
    errors = Counter[str]()
    for result in scored:
        errors.update(result.errors)
    verdicts = Counter(result.verdict for result in results)
    turn_seconds = [seconds for result in results for seconds in result.turn_seconds]
    return Figures(
        tasks=len(kept),
        episodes=len(results),
        scored=len(scored),
        faults=faults,
        refusals=len(results) - len(scored) - faults,
        reward=bootstrap_mean([mean([result.reward for result in group.scored]) for group in kept]),
        success=success.estimate,
        success_bounds=success.bounds,
        repeats=repeats,
        pass_at={k: share_at(trials, pass_at_k, k) for k in samples},
        pass_hat={k: share_at(trials, pass_hat_k, k) for k in samples},
        majority=_majority(groups) if repeats > 1 else None,
        turns=mean([result.turns for result in scored]),
        prompt_tokens=mean([result.prompt_tokens for result in scored]),
        completion_tokens=mean([result.completion_tokens for result in scored]),
        reasoning_tokens=mean([result.reasoning_tokens for result in scored]),
        cached_tokens=mean([result.cached_tokens for result in scored]),
        seconds=mean([result.model_seconds + result.step_seconds for result in scored]),
        model_seconds=mean([result.model_seconds for result in scored]),
        turn_seconds=_percentiles(turn_seconds),
        calls=mean([result.calls for result in scored]),
        errors={kind: errors[kind] for kind in ERROR_KINDS if errors[kind]},
        cut=sum(result.cut for result in results),
        malformed=sum(result.malformed for result in results),
        verdicts={verdict: verdicts[verdict] for verdict in VERDICTS if verdicts[verdict]},
        stops=dict(sorted(Counter(result.stop for result in results).items())),
        cost=_cost(results, price),
    )


def _cost(results: Sequence[Result], price: Price | None) -> float | None:
    if price is not None:
        return sum(price.of(result) for result in results)
    told = sum(result.cost for result in results)
    return told or None


def by_kind(results: Iterable[Result], price: Price | None = None) -> dict[str, Figures]:
    """Figures for each kind of task; none where there is one kind. An episode that broke before its task was
    known has the kind that the task's other episodes have."""
    results = list(results)
    kinds = {result.task: result.kind for result in results if result.kind}
    members: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        members[kinds.get(result.task, "unknown")].append(result)
    if len(kinds) == 0 or len(members) < 2:
        return {}
    return {kind: figures(members[kind], price) for kind in sorted(members)}


@dataclass(frozen=True, slots=True)
class _Group:
    """One task's episodes."""

    size: int
    scored: list[Result]

    @property
    def trials(self) -> Trials:
        return Trials(self.size, len(self.scored), sum(result.success for result in self.scored))

    @property
    def votes(self) -> list[Vote]:
        return [Vote(result.answer, result.success) for result in self.scored]


def _groups(results: Sequence[Result]) -> list[_Group]:
    by_task: dict[int, list[Result]] = defaultdict(list)
    for result in results:
        by_task[result.task].append(result)
    return [
        _Group(len(by_task[task]), [result for result in by_task[task] if result.is_scored])
        for task in sorted(by_task)
    ]


def _majority(groups: Sequence[_Group]) -> Share | None:
    if not is_voted_on([vote for group in groups for vote in group.votes]):
        return None
    voted = [(group, *majority(group.votes, group.trials.unscored)) for group in groups]
    shares = [value for group, value, _ in voted if group.scored]
    bounds = Bounds(mean([ends.low for *_, ends in voted]), mean([ends.high for *_, ends in voted]))
    return Share(clustered_share(shares, len(shares)), bounds)


def _percentiles(values: Sequence[float]) -> dict[int, float]:
    if not values:
        return {}
    return dict(zip(PERCENTILES, map(float, np.percentile(values, PERCENTILES)), strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, Share):
        return {"estimate": plain(value.estimate), "bounds": plain(value.bounds)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return plain(value)
