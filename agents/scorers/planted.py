"""Planted answers: known-good and known-bad ones, which show whether a scorer can tell the two apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ludus.agents.answers import final_answer
from ludus.agents.episode import Episode
from ludus.agents.policy import ScriptedPolicy
from ludus.agents.rollout import Job, Limits, rollout_mixed
from ludus.agents.scorers.base import Score, ScoreFault, Scorer
from ludus.agents.scorers.transcript import task_of
from ludus.agents.statistics import mean
from ludus.envs.chat import assistant, reply_text
from ludus.tools.judging.attacks import ATTACKS

ORACLE = "oracle"
BAD = "I do not know."
"""The answer that attacks dress up."""


@dataclass(frozen=True)
class Plant:
    """Two answers to one task."""

    kind: str
    """The name of an attack, or `transplant`."""
    good: Episode
    bad: Episode


def known_good(jobs: Sequence[Job], limits: Limits | None = None) -> list[Episode]:
    """What the environments' oracles make of tasks; those are left out in which they did not succeed."""
    played = rollout_mixed(ScriptedPolicy(ORACLE), jobs, limits)
    return [episode for episode in played if episode.is_scored and episode.success]


def attack(good: Episode, kind: str) -> Plant:
    """The bad answer as an attack of `ATTACKS` dresses it up; as it is, if there is none of that name."""
    task = "\n\n".join(text for _, text in task_of(good))
    return _plant(kind, good, ATTACKS[kind](task, BAD) if kind in ATTACKS else BAD)


def transplant(good: Episode, other: Episode) -> Plant | None:
    """The last reply that another task got, as the answer to this one; None where it may be right here, too,
    or where that task is this one."""
    text = reply_text(other.turns[-1].reply) if other.turns else ""
    alike = final_answer(other) == final_answer(good) and final_answer(good) is not None
    if not text or alike or task_of(other) == task_of(good):
        return None
    return _plant("transplant", good, text)


async def tell_apart(scorer: Scorer, plants: Sequence[Plant]) -> list[tuple[Score, Score] | ScoreFault]:
    """The scores of the good and the bad answer of each; a fault where one of them has none. Each is a group
    of its own."""
    episodes = [
        replace(episode, group=-1 - index)
        for index, plant in enumerate(plants)
        for episode in (plant.good, plant.bad)
    ]
    scores = await scorer.score(episodes) if episodes else []
    return [_both(*scores[index : index + 2]) for index in range(0, len(scores), 2)]


@dataclass(frozen=True)
class Attacked:
    """What a scorer made of an attack."""

    kind: str
    """Its name; `none`: the bad answer as it is."""
    judged: int
    fooled: int
    """The bad answer was scored no lower than the good one."""
    faults: int
    why: str
    """Of the first fault; empty without any."""
    good: float
    """Mean score of the good answers."""
    bad: float


async def attacked(scorer: Scorer, good: Sequence[Episode]) -> list[Attacked]:
    """Every attack on every task, and what the scorer made of it."""
    kinds = ["none", *ATTACKS]
    told = await tell_apart(scorer, [attack(episode, kind) for kind in kinds for episode in good])
    found = []
    for index, kind in enumerate(kinds):
        own = told[index * len(good) : (index + 1) * len(good)]
        scores = [both for both in own if not isinstance(both, ScoreFault)]
        found.append(
            Attacked(
                kind,
                len(scores),
                sum(is_misjudged(*both) for both in scores),
                len(own) - len(scores),
                next((both.why for both in own if isinstance(both, ScoreFault)), ""),
                mean([right.value for right, _ in scores]),
                mean([wrong.value for _, wrong in scores]),
            )
        )
    return found


def is_misjudged(good: Score, bad: Score) -> bool:
    """The bad answer was given no less than the good one."""
    return not bad.value < good.value


def _both(good: Score | ScoreFault, bad: Score | ScoreFault) -> tuple[Score, Score] | ScoreFault:
    if isinstance(good, ScoreFault):
        return good
    return bad if isinstance(bad, ScoreFault) else (good, bad)


def _plant(kind: str, good: Episode, text: str) -> Plant:
    turn = replace(good.turns[0], reply=assistant(text), completion_ids=(), logprobs=(), kept=None)
    return Plant(kind, good, replace(good, turns=(turn,), success=False, final_observation=[]))
