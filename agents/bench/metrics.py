"""Metrics from results, with 95% intervals that account for the dependence between repeats of a task.

Every metric is a mean over tasks of a per-task value, so the bootstrap draws tasks, with all their repeats
(B. Efron, Annals of Statistics 7, 1979; the cluster bootstrap). Shares are often 0 or 1, where a bootstrap
interval would have no width, so they get Wilson's interval at the effective sample size (E. L. Korn and B. I.
Graubard, Survey Methodology 24, 1998). Faults are left out of all of them.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.agents.bench.result import ERROR_KINDS, Result
from ludus.agents.evaluate import Interval, bootstrap_mean, wilson_share


@dataclass(frozen=True, slots=True)
class Figures:
    """All but `episodes`, `faults` and `stops` cover only the episodes without a fault."""

    tasks: int
    """Tasks with at least one episode without a fault."""
    episodes: int
    faults: int
    reward: Interval
    success: Interval
    repeats: int
    """The most samples of any one task: the k of the next three."""
    pass_at: dict[int, Interval]
    """k → chance that at least one of k samples succeeds (M. Chen et al., 2021, unbiased)."""
    pass_hat: dict[int, Interval]
    """k → chance that all of k samples succeed (S. Yao et al., τ-bench, 2024, unbiased)."""
    majority: Interval | None
    """Success of the most common answer among a task's samples; None if there is no answer to vote on."""
    turns: float
    prompt_tokens: float
    completion_tokens: float
    seconds: float
    """Seconds per episode, generation and steps together; a mean, like the three before."""
    model_seconds: float
    calls: float
    errors: dict[str, int]
    """Total number of failed tool calls, by kind."""
    stops: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: nan becomes None."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}


def figures(results: Iterable[Result]) -> Figures:
    results = list(results)
    whole = [result for result in results if not result.is_fault]
    by_task: dict[int, list[Result]] = defaultdict(list)
    for result in whole:
        by_task[result.task].append(result)
    groups = [by_task[task] for task in sorted(by_task)]
    won = [(len(group), sum(result.success for result in group)) for group in groups]
    repeats = max((n for n, _ in won), default=0)
    powers = sorted({1, *(2**i for i in range(1, 20) if 2**i < repeats), repeats} - {0})
    votes = [vote for group in groups if (vote := majority_success(group)) is not None]
    errors = Counter[str]()
    for result in whole:
        errors.update(result.errors)
    return Figures(
        tasks=len(groups),
        episodes=len(results),
        faults=len(results) - len(whole),
        reward=bootstrap_mean([_mean([result.reward for result in group]) for group in groups]),
        success=clustered_share([c / n for n, c in won], len(whole)),
        repeats=repeats,
        pass_at={k: _share([pass_at_k(n, c, k) for n, c in won if n >= k]) for k in powers},
        pass_hat={k: _share([pass_hat_k(n, c, k) for n, c in won if n >= k]) for k in powers},
        majority=_share(votes) if votes and repeats > 1 else None,
        turns=_mean([result.turns for result in whole]),
        prompt_tokens=_mean([result.prompt_tokens for result in whole]),
        completion_tokens=_mean([result.completion_tokens for result in whole]),
        seconds=_mean([result.model_seconds + result.step_seconds for result in whole]),
        model_seconds=_mean([result.model_seconds for result in whole]),
        calls=_mean([result.calls for result in whole]),
        errors={kind: errors[kind] for kind in ERROR_KINDS if errors[kind]},
        stops=dict(sorted(Counter(result.stop for result in results).items())),
    )


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate that one of `k` samples succeeds, from `c` successes in `n` ≥ `k` samples:
    1 − C(n−c, k) / C(n, k) (M. Chen et al., Evaluating Large Language Models Trained on Code, 2021)."""
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate that all of `k` samples succeed: C(c, k) / C(n, k) (S. Yao et al., τ-bench, 2024)."""
    return math.comb(c, k) / math.comb(n, k)


def majority_success(group: Sequence[Result]) -> float | None:
    """Success of the most common answer among a task's samples. Samples that share it may still differ in
    success, and answers may tie; the result is then the mean over them. An episode without an answer has no
    vote.

    Returns:
        None if no sample has an answer.
    """
    votes: dict[str, list[bool]] = defaultdict(list)
    for result in group:
        if result.answer is not None:
            votes[result.answer].append(result.success)
    if not votes:
        return None
    most = max(map(len, votes.values()))
    return _mean([_mean(successes) for successes in votes.values() if len(successes) == most])


def clustered_share(shares: Sequence[float], trials: int) -> Interval:
    """The mean of the tasks' shares (each from 0 to 1), with Wilson's interval at the effective sample size.

    The variance of the mean is taken between tasks; the effective size is the number of independent trials
    with the same variance, at most `trials`. If all tasks came out alike, there is no variance to estimate it
    from: each task counts once.
    """
    if not shares:
        return Interval(math.nan, math.nan, math.nan)
    share, tasks = float(np.mean(shares)), len(shares)
    variance = float(np.var(shares)) / tasks
    size = share * (1 - share) / variance if variance > 0 else float(tasks)
    return wilson_share(share, min(size, float(trials)))


def _share(shares: Sequence[float]) -> Interval:
    return clustered_share(shares, len(shares))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return {"value": _plain(value.value), "low": _plain(value.low), "high": _plain(value.high)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
