"""Best of n: play whole episodes in copies, keep the best."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium

from ludus.agents.policy import Policy
from ludus.agents.search.branches import Node, PlanningPlayer, Step
from ludus.agents.search.lines import earned
from ludus.agents.search.scores import Judge, values


@dataclass(frozen=True)
class BestOfN:
    """Plays n lines to their end before the first action, then follows the one with the highest score (the
    first among equals).

    Scored by the environment's rewards (`earned`), it is oracle-verified: if one line succeeds with
    probability p, it succeeds with 1 - (1 - p)^n, which is what pass@n estimates. Scored by `likelihood`, a
    reward model, or a verifier of your own, it is honest.
    """

    policy: Policy
    n: int = 8
    score: Judge = earned

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "BestOfNPlayer":
        return BestOfNPlayer(self, env, seed)


class BestOfNPlayer(PlanningPlayer):
    def __init__(self, agent: BestOfN, env: gymnasium.Env[Any, Any], seed: int) -> None:
        super().__init__(env)
        self._agent = agent
        self._seed = seed

    async def plan(self, root: Node) -> Iterable[Step]:
        agent = self._agent
        lines = await self.branches.lines(root, agent.policy, agent.n, self._seed)
        worth = await values(agent.score, self.branches, lines)
        return lines[worth.index(max(worth))].steps
