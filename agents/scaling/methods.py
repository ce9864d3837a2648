"""The ways of using a model that are compared: what each is called, and how it is played."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ludus.agents.policy import Policy
from ludus.agents.scorers.base import Scorer
from ludus.agents.search.beam import Beam
from ludus.agents.search.by_step import by_step
from ludus.agents.search.mcts import MCTS
from ludus.agents.search.scores import Judge

REWARD = "reward"
"""What a search goes by that looks at the environment's rewards."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search with one budget."""

    kind: Literal["beam", "mcts"]
    size: int
    """Of a beam, its width, and as many samples of each state; of a tree, the simulations before each
    action."""
    by: str
    """`reward`, or a scorer's name."""
    separator: str = ""
    """What ends the steps of replies over which it searches; empty: it searches over turns."""

    @property
    def name(self) -> str:
        """As the journal has it."""
        return f"{self.kind}-{self.size} over {'steps' if self.separator else 'turns'} by {self.by}"

    @property
    def curve(self) -> str:
        """As the figure has it."""
        return f"{'beam search' if self.kind == 'beam' else 'tree search'} by {self.by}"

    def policy(self, model: Policy, scorers: Mapping[str, Scorer]) -> Policy:
        """
        Raises:
            EngineError: the model cannot be stopped within a reply.
        """
        acting = by_step(model, self.separator) if self.separator else model
        judge: Judge | None = scorers[self.by] if self.by != REWARD else None
        if self.kind == "mcts":
            return MCTS(acting, self.size, score=judge)
        return Beam(acting, self.size, self.size, judge) if judge else Beam(acting, self.size, self.size)


@dataclass(frozen=True, slots=True)
class Revision:
    """Sequential revision, up to so many times."""

    feedback: bool
    times: int

    @property
    def curve(self) -> str:
        return "revision by feedback" if self.feedback else "revision"

    def name(self, number: int) -> str:
        """Of its n-th revision, as the journal has it."""
        return f"{self.curve} {number}"
