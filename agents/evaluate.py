"""Metrics of a policy from a set of episodes, with 95% intervals."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ludus.agents.episode import Episode
from ludus.agents.pass_at import (
    Share,
    Trials,
    numbers_of_samples,
    pass_at_k,
    share_at,
    success_share,
)
from ludus.agents.statistics import Bounds, Interval, bootstrap_mean, mean, plain, share_bounds, wilson

UNSCORED_LIMIT = 0.02
"""A run with a larger share of episodes without a score says so first, and by its exit code."""


@dataclass(frozen=True, slots=True)
class Summary:
    """All but `episodes`, `faults`, `refusals` and `stop_reasons` cover only the episodes with a score."""

    episodes: int
    """All episodes."""
    faults: int
    """What broke on our side. Never counted as failures."""
    refusals: int
    """What the server refused to answer."""
    mean_return: Interval
    """Percentile bootstrap over tasks, 10,000 resamples from a fixed seed."""
    success: Interval
    """Share of successes; Wilson's score interval, at the effective sample size where tasks were played
    several times."""
    success_bounds: Bounds
    """The share of successes if every episode without a score is a failure, and if it is a success."""
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
    pass_at: dict[int, Share]
    """k → chance that at least one of k samples succeeds (M. Chen et al., 2021); empty where every task was
    played once."""

    @property
    def scored(self) -> int:
        return self.episodes - self.faults - self.refusals

    @property
    def left_out(self) -> str:
        """See `left_out`."""
        return left_out(self.faults, self.episodes, self.refusals)

    @property
    def is_incomplete(self) -> bool:
        """More episodes lack a score than `UNSCORED_LIMIT`."""
        return is_incomplete(self.faults + self.refusals, self.episodes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: nan becomes None."""
        return {name: plain(value) for name, value in asdict(self).items()}


def fault_share(faults: int, episodes: int) -> str:
    """For a table: `3 (0.6%)`; `0` without faults."""
    return f"{faults} ({faults / episodes:.1%})" if faults else "0"


def left_out(faults: int, episodes: int, refusals: int = 0) -> str:
    """A note for beside the metrics: how many episodes they leave out, and why. Empty if none."""
    unscored = faults + refusals
    if not unscored:
        return ""
    share = f"{unscored} of {episodes} episode{'s' * (episodes != 1)} ({unscored / episodes:.1%})"
    if faults and refusals:
        how = f"ended in a fault ({faults}) or a refusal of the server ({refusals})"
    else:
        how = "ended in a fault" if faults else "ended in a refusal of the server"
    return f"{share} {how} and count{'s' * (unscored == 1)} in no figure"


def is_incomplete(unscored: int, episodes: int) -> bool:
    return unscored > UNSCORED_LIMIT * episodes


def summarise(episodes: Iterable[Episode]) -> Summary:
    """Intervals assume independent tasks; episodes of one environment, with the same arguments and seed, are
    samples of one task."""
    episodes = list(episodes)
    scored = [episode for episode in episodes if episode.is_scored]
    faults = sum(episode.is_fault for episode in episodes)
    unscored, successes = len(episodes) - len(scored), sum(episode.success for episode in scored)
    terms = [episode.reward_terms() for episode in scored]
    names = dict.fromkeys(name for episode_terms in terms for name in episode_terms)
    tasks = _by_task(episodes)
    repeats = max(map(len, tasks), default=0)
    trials = [_trials(task) for task in tasks]
    finishes = [turn.finish for episode in scored for turn in episode.turns if turn.finish]
    return Summary(
        episodes=len(episodes),
        faults=faults,
        refusals=unscored - faults,
        mean_return=bootstrap_mean(_mean_returns(tasks)),
        success=success_share(trials).estimate if repeats > 1 else wilson(successes, len(scored)),
        success_bounds=share_bounds(successes, unscored, len(episodes)),
        reward_terms={
            name: mean([episode_terms.get(name, 0.0) for episode_terms in terms]) for name in names
        },
        form_terms=tuple(dict.fromkeys(name for episode in scored for name in episode.form_terms)),
        turns=mean([len(episode.turns) for episode in scored]),
        completion_tokens=mean([sum(turn.completion_tokens for turn in episode.turns) for episode in scored]),
        cut=mean([finish == "length" for finish in finishes]) if finishes else 0.0,
        stop_reasons=dict(sorted(Counter(episode.stop.value for episode in episodes).items())),
        pass_at=(
            {k: share_at(trials, pass_at_k, k) for k in numbers_of_samples(repeats)} if repeats > 1 else {}
        ),
    )


def _by_task(episodes: Sequence[Episode]) -> list[list[Episode]]:
    tasks: dict[tuple[str, str, int], list[Episode]] = {}
    for episode in episodes:
        key = (episode.environment, json.dumps(episode.arguments, default=repr), episode.seed)
        tasks.setdefault(key, []).append(episode)
    return list(tasks.values())


def _trials(task: Sequence[Episode]) -> Trials:
    scored = [episode for episode in task if episode.is_scored]
    return Trials(len(task), len(scored), sum(episode.success for episode in scored))


def _mean_returns(tasks: Sequence[Sequence[Episode]]) -> list[float]:
    """Of each task with a scored episode."""
    returns = [[episode.episode_return for episode in task if episode.is_scored] for task in tasks]
    return [mean(values) for values in returns if values]
