"""What a state is worth to a search: by a function of it, or by a model that scores episodes."""

from collections.abc import Sequence
from typing import TypeAlias

from ludus.agents.engines.base import EngineFault
from ludus.agents.scorers.base import ScoreFault, Scorer
from ludus.agents.search.branches import Branches, Node
from ludus.agents.search.lines import Score

Judge: TypeAlias = Score | Scorer
"""A function of a state, or a scorer such as a reward model, which sees the line of play as an episode; one
that is not over yet ends with `limit:turns`, and a reply that is not written to its end as far as it goes."""


async def values(judge: Judge, branches: Branches, nodes: Sequence[Node]) -> list[float]:
    """What each state is worth; higher is better.

    Raises:
        EngineFault: the scorer could not score one of them.
    """
    if callable(judge):
        return [judge(node) for node in nodes]
    found: list[float] = []
    for score in await judge.score([branches.episode(node) for node in nodes]):
        if isinstance(score, ScoreFault):
            raise EngineFault(f"the scorer of a search: {score.why}")
        found.append(score.value)
    return found
