"""`Trajectory`: an episode as credit is given in it, and its rewards by turn and by token."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Trajectory:
    """K turns with T sampled tokens in all, in the order of the turns. A turn may have no token.

    Tensors are float64, on the CPU.
    """

    group: int
    """Episodes of one batch that share one start have the same number."""
    rewards: tuple[float, ...]
    """What the environment gave for each turn, [K]."""
    tokens: tuple[int, ...]
    """How many tokens were sampled in each turn, [K]."""
    shaping: float = 0.0
    """What the configuration adds to the return; it counts as earned in the last turn."""
    token_rewards_T: Tensor | None = None
    """Further rewards of single tokens; None: there are none."""
    anchors: tuple[str, ...] = ()
    """The key of the state in which each turn was taken, [K]. Only credit by anchor needs them."""
    is_trained_on: bool = True
    """Whether its tokens count in the loss; others are compared with it either way."""
    step_values: tuple[float, ...] | None = None
    """What a scorer gave for each step of the replies, before its weight; they are among the rewards of
    tokens. None: there is no scorer."""

    baseline: float = 0.0
    """What its seat earned in the steps before; only credit by role needs it."""

    values_T: Tensor | None = None
    """What a value model expected before each token; None: there is none."""
    bootstrap: float = 0.0
    """What it expects after the last token: 0 unless the episode was truncated."""

    def charged(self, charge_T: Tensor) -> Trajectory:
        """The same, with less for each token."""
        rewards_T = -charge_T if self.token_rewards_T is None else self.token_rewards_T - charge_T
        return replace(self, token_rewards_T=rewards_T)

    @property
    def episode_return(self) -> float:
        """Everything earned: the environment's rewards, the shaping, the rewards of tokens."""
        further = 0.0 if self.token_rewards_T is None else float(self.token_rewards_T.sum())
        return sum(self.rewards) + self.shaping + further

    def turn_rewards_K(self) -> Tensor:
        """Everything earned in each turn, [K]; adds up to `episode_return`."""
        rewards_K = torch.tensor(self.rewards, dtype=torch.float64)
        if len(rewards_K):
            rewards_K[-1] += self.shaping
        if self.token_rewards_T is not None and self.tokens:
            pieces = self.token_rewards_T.split(self.tokens)
            rewards_K += torch.stack([piece.sum() for piece in pieces])
        return rewards_K

    def rewards_T(self) -> Tensor:
        """Everything earned, at the token with which it was earned, [T]: a turn's reward at its last token.

        A turn without a token is nobody's action; what it earned counts for the last token before it and, if
        there is none, for none.
        """
        rewards_T = torch.zeros(sum(self.tokens), dtype=torch.float64)
        if self.token_rewards_T is not None:
            rewards_T += self.token_rewards_T
        given = [*self.rewards]
        if given:
            given[-1] += self.shaping
        for reward, end in zip(given, accumulate(self.tokens), strict=True):
            if end:
                rewards_T[end - 1] += reward
        return rewards_T

    def over_tokens(self, values_K: Tensor) -> Tensor:
        """The value of each token's turn, [T]."""
        return values_K.repeat_interleave(torch.tensor(self.tokens, dtype=torch.int64))
