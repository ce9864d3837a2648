"""The check that a reward measures what it says: scripted agents that solve, do nothing, guess and cheat."""

from dataclasses import dataclass
from statistics import fmean

from ludus.envs.conformance.episodes import Subject, play
from ludus.envs.conformance.report import Violation

# Seeds apart from those of the other checks.
FIRST_SEED = 10_000
TOLERATED = 0.05
"""The share of episodes that luck may win."""


@dataclass(frozen=True)
class Score:
    """How a scripted agent did over the episodes."""

    success: float
    mean_return: float


def scripted_agents(subject: Subject) -> str:
    """The oracle always succeeds; null and every cheater hardly ever do; and the oracle's return is the
    highest."""
    names = subject.scripted
    missing = [name for name in ("null", "random", "oracle") if name not in names]
    cheaters = [name for name in names if name.startswith("cheater")]
    if missing or not cheaters:
        missing += [] if cheaters else ["cheater-…"]
        raise Violation(
            f"there is no scripted agent {', '.join(missing)}: without it nobody knows what a reward means"
        )
    scores = {name: _score(subject, name) for name in names}
    rates = ", ".join(
        f"{name} {score.success:.2f} ({score.mean_return:.2f})" for name, score in scores.items()
    )
    rates = f"success (mean return) over {subject.episodes} episodes: {rates}"
    if scores["oracle"].success < 1:
        raise Violation(f"the oracle must always succeed, or some task has no solution; {rates}")
    for name in ("null", *cheaters):
        if scores[name].success > TOLERATED:
            raise Violation(f"{name} must not succeed in more than {TOLERATED:.0%} of the episodes; {rates}")
    better = [
        name
        for name in names
        if name != "oracle" and scores[name].mean_return >= scores["oracle"].mean_return
    ]
    if better:
        raise Violation(f"{', '.join(better)} must not earn as much as the oracle; {rates}")
    return rates


def _score(subject: Subject, name: str) -> Score:
    env = subject.make()
    agent = subject.scripted[name](env.unwrapped, 0)
    successes, returns = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + subject.episodes):
        total, success = 0.0, False
        for step in play(env, agent, seed):
            total += step.reward
            success = bool(step.info.get("success", False))
        successes.append(success)
        returns.append(total)
    env.close()
    return Score(fmean(successes), fmean(returns))
