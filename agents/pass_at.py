"""Shares of successes over tasks that were played several times: the mean, pass@k and pass^k."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ludus.agents.statistics import Bounds, Interval, clustered_share, mean

Estimator = Callable[[int, int, int], float]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of successes."""

    estimate: Interval
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Trials:
    """The episodes of one task, counted."""

    played: int
    scored: int
    won: int

    @property
    def unscored(self) -> int:
        return self.played - self.scored


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate that one of `k` samples succeeds, from `c` successes in `n` ≥ `k` samples:
    1 − C(n−c, k) / C(n, k) (M. Chen et al., Evaluating Large Language Models Trained on Code, 2021)."""
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate that all of `k` samples succeed: C(c, k) / C(n, k) (S. Yao et al., τ-bench, 2024)."""
    return math.comb(c, k) / math.comb(n, k)


def completed(estimator: Estimator, n: int, c: int, k: int, unscored: int) -> float:
    """An estimate for a task with too few scored samples, `n` < `k` ≤ `n` + `unscored`: the mean over what
    the unscored ones may be, each a success with the chance `c / n`. Leaving such tasks out would favour
    those on which nothing broke."""
    chance = c / n
    return sum(
        math.comb(unscored, more)
        * chance**more
        * (1 - chance) ** (unscored - more)
        * estimator(n + unscored, c + more, k)
        for more in range(unscored + 1)
    )


def numbers_of_samples(repeats: int) -> list[int]:
    """The k for which shares are taken where a task was played up to `repeats` times: powers of two and
    `repeats` itself."""
    return sorted({1, *(2**i for i in range(1, 20) if 2**i < repeats), repeats} - {0})


def success_share(tasks: Sequence[Trials]) -> Share:
    """The mean over tasks of their shares of successes."""
    scored = sum(task.scored for task in tasks)
    return _share(tasks, lambda task: task.won / task.scored, lambda n, c: c / n, trials=scored)


def share_at(tasks: Sequence[Trials], estimator: Estimator, k: int) -> Share:
    """The mean of `pass_at_k` or `pass_hat_k` over tasks played `k` times; `success_share` for 1."""
    if k == 1:
        return success_share(tasks)

    def estimate(task: Trials) -> float:
        n, c = task.scored, task.won
        return estimator(n, c, k) if n >= k else completed(estimator, n, c, k, task.unscored)

    enough = [task for task in tasks if task.played >= k]
    return _share(enough, estimate, lambda n, c: estimator(n, c, k))


def _share(
    tasks: Sequence[Trials],
    estimate: Callable[[Trials], float],
    of: Callable[[int, int], float],
    trials: int | None = None,
) -> Share:
    """
    Args:
        estimate: of a task with at least one scored episode.
        of: the share of a task whose episodes are all scored, from their number and that of successes.
        trials: how many independent trials there are at most; None: as many as tasks.
    """
    shares = [estimate(task) for task in tasks if task.scored]
    low = mean([of(task.played, task.won) for task in tasks])
    high = mean([of(task.played, task.won + task.unscored) for task in tasks])
    return Share(clustered_share(shares, len(shares) if trials is None else trials), Bounds(low, high))
