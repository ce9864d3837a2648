"""Metrics of a policy from a set of episodes, with 95% intervals."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from ludus.agents.episode import Episode

_Z = NormalDist().inv_cdf(0.975)
_RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the ends of its 95% interval; nan if there was nothing to estimate from."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """All but the counts of episodes and `stop_reasons` cover only the scored episodes."""

    episodes: int
    """All episodes, faults and refusals included."""
    faults: int
    """What broke on our side. Never counted as failures."""
    refusals: int
    """Episodes that the server would not answer. Never counted as failures."""
    mean_return: Interval
    """Percentile bootstrap over episodes, 2,000 resamples from a fixed seed."""
    success: Interval
    """Share of successes; Wilson's score interval."""
    reward_terms: dict[str, float]
    """Mean over episodes of each unweighted term, summed over the turns."""
    form_terms: tuple[str, ...]
    """The terms that judge the form of a reply."""
    turns: float
    """Mean number per episode."""
    completion_tokens: float
    """Mean number per episode."""
    cut: float
    """Share of completions that the token limit cut off."""
    stop_reasons: dict[str, int]

    @property
    def left_out(self) -> str:
        """See `left_out`."""
        return left_out(self.faults, self.episodes, self.refusals)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: nan becomes None."""
        return _plain(asdict(self))


def fault_share(faults: int, episodes: int) -> str:
    """For a table: `3 (0.6%)`; `0` without faults."""
    return f"{faults} ({faults / episodes:.1%})" if faults else "0"


def left_out(faults: int, episodes: int, refusals: int = 0) -> str:
    """A note for beside the metrics: how many episodes they leave out. Empty without faults and refusals."""
    parts = []
    for count, how in ((faults, "ended in a fault"), (refusals, "was refused by the server")):
        if count:
            how = how if count == 1 else how.replace("was", "were")
            parts.append(
                f"{count} of {episodes} episode{'s' * (episodes != 1)} ({count / episodes:.1%}) {how}"
            )
    counts = "counts" if faults + refusals == 1 else "count"
    return f"{' and '.join(parts)} and {counts} in no figure" if parts else ""


def summarise(episodes: Iterable[Episode]) -> Summary:
    """Intervals assume independent episodes: for many samples of few tasks they are too narrow."""
    episodes = list(episodes)
    whole = [episode for episode in episodes if episode.is_scored]
    terms = [episode.reward_terms() for episode in whole]
    names = dict.fromkeys(name for episode_terms in terms for name in episode_terms)
    finishes = [turn.finish for episode in whole for turn in episode.turns if turn.finish]
    return Summary(
        episodes=len(episodes),
        faults=sum(episode.is_fault for episode in episodes),
        refusals=sum(episode.is_refusal for episode in episodes),
        mean_return=bootstrap_mean([episode.episode_return for episode in whole]),
        success=wilson(sum(episode.success for episode in whole), len(whole)),
        reward_terms={
            name: _mean([episode_terms.get(name, 0.0) for episode_terms in terms]) for name in names
        },
        form_terms=tuple(dict.fromkeys(name for episode in whole for name in episode.form_terms)),
        turns=_mean([len(episode.turns) for episode in whole]),
        completion_tokens=_mean([sum(turn.completion_tokens for turn in episode.turns) for episode in whole]),
        cut=_mean([finish == "length" for finish in finishes]) if finishes else 0.0,
        stop_reasons=dict(sorted(Counter(episode.stop.value for episode in episodes).items())),
    )


def wilson(successes: int, trials: int) -> Interval:
    """Wilson's score interval of a proportion (E. B. Wilson, JASA 22, 1927), which stays within [0, 1] and
    does not collapse at 0 or at 1."""
    return wilson_share(successes / trials if trials else math.nan, trials)


def wilson_share(share: float, trials: float) -> Interval:
    """`wilson` for a share of `trials`, which need not be an integer."""
    if trials == 0:
        return Interval(math.nan, math.nan, math.nan)
    spread = _Z**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def bootstrap_mean(values: Sequence[float]) -> Interval:
    """Percentile bootstrap of the mean (B. Efron, Annals of Statistics 7, 1979), from a fixed seed."""
    if not values:
        return Interval(math.nan, math.nan, math.nan)
    sample = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(0)
    # Drawing how often each value occurs gives the resampled means without an array of resamples × values
    # indices.
    counts = rng.multinomial(len(sample), np.full(len(sample), 1 / len(sample)), size=_RESAMPLES)
    low, high = np.quantile(counts @ sample / len(sample), [0.025, 0.975])
    return Interval(float(sample.mean()), float(low), float(high))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
