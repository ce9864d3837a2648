"""Majority vote over final answers."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium

from ludus.agents.policy import Policy
from ludus.agents.search.branches import Node, PlanningPlayer, Step
from ludus.agents.search.lines import final_answer


@dataclass(frozen=True)
class Majority:
    """Plays n lines to their end in copies, then follows the first with the most common answer (among equals,
    the answer given first). It looks at no reward, so it is honest (X. Wang et al., "Self-consistency
    improves chain of thought reasoning in language models", 2023)."""

    policy: Policy
    n: int = 8
    answer: Callable[[Node], Hashable] = final_answer
    """The answer of a finished line; None for no answer, which wins only if no line has one."""

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "MajorityPlayer":
        return MajorityPlayer(self, env, seed)


class MajorityPlayer(PlanningPlayer):
    def __init__(self, agent: Majority, env: gymnasium.Env[Any, Any], seed: int) -> None:
        super().__init__(env)
        self._agent = agent
        self._seed = seed

    async def plan(self, root: Node) -> Iterable[Step]:
        agent = self._agent
        lines = await self.branches.lines(root, agent.policy, agent.n, self._seed)
        answers = [agent.answer(line) for line in lines]
        votes = Counter(answer for answer in answers if answer is not None) or Counter(answers)
        ((winner, _),) = votes.most_common(1)
        return lines[answers.index(winner)].steps
