"""Beam search over turns."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any

import gymnasium

from ludus.agents.policy import BranchingPlayer, Policy, derive_seed
from ludus.agents.search.branches import Node, PlanningPlayer, Step, together
from ludus.agents.search.lines import earned, reply_key
from ludus.agents.search.scores import Judge, values


@dataclass(frozen=True)
class Beam:
    """Continues the `width` best states by `samples` actions each, turn by turn, until all that are kept have
    ended; then follows the best. Over a policy that acts `ByStep`, step by step of
    each reply.

    The copies show what actions lead to and, with `earned`, also their rewards: a planner with a perfect
    model of its world. For environments with intermediate rewards, or with a score that recognises a good
    state, such as a process reward model.
    """

    policy: Policy
    """A model: its players can be branched."""
    width: int = 4
    samples: int = 4
    score: Judge = earned

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "BeamPlayer":
        return BeamPlayer(self, env, seed)


class BeamPlayer(PlanningPlayer):
    def __init__(self, agent: Beam, env: gymnasium.Env[Any, Any], seed: int) -> None:
        super().__init__(env)
        self._agent = agent
        self._seed = seed
        self._begun = self.branches.begin(agent.policy, seed)

    async def plan(self, root: Node) -> Iterable[Step]:
        agent = self._agent
        seeds = (derive_seed(self._seed, number) for number in count(1))
        kept = [root]
        while not all(node.ended for node in kept):
            open_nodes = [node for node in kept if not node.ended for _ in range(agent.samples)]
            grown = await together(
                self.branches.branch(node, self._player_at(node), next(seeds)) for node in open_nodes
            )
            ended = [node for node in kept if node.ended]
            kept = await self._best([*ended, *_distinct(grown)])
        return kept[0].steps

    async def _best(self, nodes: list[Node]) -> list[Node]:
        """The `width` best; among equals, prefers what may still become better."""
        worth = await values(self._agent.score, self.branches, nodes)
        ranked = sorted(
            zip(worth, nodes, strict=True), key=lambda one: (one[0], not one[1].ended), reverse=True
        )
        return [node for _, node in ranked[: self._agent.width]]

    def _player_at(self, node: Node) -> BranchingPlayer:
        return node.player if isinstance(node.player, BranchingPlayer) else self._begun


def _distinct(nodes: list[Node]) -> list[Node]:
    """Removes those that reached the same state by the same replies."""
    first: dict[tuple[Hashable, ...], Node] = {}
    for node in nodes:
        first.setdefault(tuple(reply_key(action.reply) for action in node.actions), node)
    return list(first.values())
