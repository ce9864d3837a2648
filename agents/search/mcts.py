"""Monte Carlo tree search over turns."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import gymnasium

from ludus.agents.policy import BranchingPlayer, Policy, derive_seed
from ludus.agents.search.branches import Node, PlanningPlayer, Step
from ludus.agents.search.lines import reply_key
from ludus.agents.search.scores import Judge, values


@dataclass(frozen=True)
class MCTS:
    """UCT (L. Kocsis and C. Szepesvári, "Bandit based Monte-Carlo planning", 2006) with actions sampled from
    the policy; before each turn (of a policy that acts `ByStep`: each step) it simulates, then takes the
    action that was visited most.

    The value of a new state is the reward so far plus `value` or, without one, plus what the policy earns by
    playing on to the end. Means are scaled to [0, 1] by the least and the greatest value seen, so that
    `exploration` means the same whatever the rewards. It plans in copies that show what actions lead to and
    earn: compare it only with agents that may do so too.
    """

    policy: Policy
    """A model: its players can be branched."""
    simulations: int = 32
    """Per turn; the tree below the chosen action is kept for the next turn."""
    width: int = 4
    """Actions sampled in one state."""
    exploration: float = math.sqrt(2)
    value: Judge | None = None
    """For a state that has not ended: the return still to be expected."""
    score: Judge | None = None
    """What a state is worth, ended or not; with it, the search looks at no reward and plays nothing to its
    end."""

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "MCTSPlayer":
        return MCTSPlayer(self, env, seed)


@dataclass(eq=False)
class _Tree:
    node: Node
    player: BranchingPlayer
    children: list["_Tree"] = field(default_factory=list)
    sampled: int = 0
    visits: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.visits


class MCTSPlayer(PlanningPlayer):
    def __init__(self, agent: MCTS, env: gymnasium.Env[Any, Any], seed: int) -> None:
        super().__init__(env)
        self._agent = agent
        self._begun = self.branches.begin(agent.policy, seed)
        self._seeds = (derive_seed(seed, number) for number in count(1))
        self._tree: _Tree | None = None
        self._least, self._most = math.inf, -math.inf

    async def plan(self, root: Node) -> Iterable[Step]:
        tree = self._tree or _Tree(root, self._begun)
        while True:
            while tree.visits < self._agent.simulations or not tree.children:
                await self._simulate(tree)
            tree = max(tree.children, key=lambda child: (child.visits, child.mean))
            if tree.node.written is None:
                break
        self._tree = tree
        return tree.node.steps[-1:]

    async def _simulate(self, tree: _Tree) -> None:
        path = [tree]
        is_new = False
        while not (is_new or path[-1].node.ended):
            child, is_new = await self._descend(path[-1])
            path.append(child)
        value = await self._worth(path[-1])
        self._least, self._most = min(self._least, value), max(self._most, value)
        for visited in path:
            visited.visits += 1
            visited.total += value

    async def _descend(self, tree: _Tree) -> tuple[_Tree, bool]:
        """The child to continue with, and whether it is new."""
        if tree.sampled == self._agent.width:
            return max(tree.children, key=lambda child: self._bound(tree, child)), False
        tree.sampled += 1
        node = await self.branches.branch(tree.node, tree.player, next(self._seeds))
        key = reply_key(node.actions[-1].reply)
        for child in tree.children:
            if reply_key(child.node.actions[-1].reply) == key:
                return child, False
        player = node.player if isinstance(node.player, BranchingPlayer) else tree.player
        tree.children.append(_Tree(node, player))
        return tree.children[-1], True

    def _bound(self, tree: _Tree, child: _Tree) -> float:
        spread = self._most - self._least
        scaled = (child.mean - self._least) / spread if spread > 0 else 0.5
        return scaled + self._agent.exploration * math.sqrt(math.log(tree.visits) / child.visits)

    async def _worth(self, tree: _Tree) -> float:
        if self._agent.score is not None:
            (worth,) = await values(self._agent.score, self.branches, [tree.node])
            return worth
        if tree.node.ended:
            return tree.node.reward
        if self._agent.value is not None:
            (expected,) = await values(self._agent.value, self.branches, [tree.node])
            return tree.node.reward + expected
        player = tree.player.branch(next(self._seeds))
        return (await self.branches.play_out(tree.node, player)).reward
