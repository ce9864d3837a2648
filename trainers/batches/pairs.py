"""Preference pairs in micro-batches: each pair whole in one, since its loss needs both sides."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ludus.agents.episode import TrainingSequence
from ludus.trainers.batches.packing import MicroBatch, even_budget, input_tokens, pack

Side = Sequence[TrainingSequence]
"""The rows of one way on: several where the chat template rewrote the history. Only the agent's tokens
count."""
Pair = tuple[Side, Side]
"""The chosen side and the rejected one."""


@dataclass(frozen=True, slots=True)
class PairBatch:
    """A micro-batch of P whole pairs. The same pairs give the same one, whatever is computed beside it, so
    that a model's log-probabilities of them are the same bits every time."""

    micro: MicroBatch
    pairs: tuple[int, ...]
    """Which of the pairs that were packed."""
    side_N: Tensor
    """Which of the 2P sides each scored token is of: those of the first pair, chosen first, those of the
    second…"""
    tokens_P2: Tensor
    """Scored tokens of each side, float64."""

    def side_sums(self, values_N: Tensor) -> Tensor:
        """Of the scored tokens of each side, [P, 2], in float64; differentiable."""
        zeros = torch.zeros(2 * len(self.pairs), dtype=torch.float64, device=values_N.device)
        sums = zeros.index_add(0, self.side_N.to(values_N.device), values_N.double())
        return sums.view(-1, 2)


def pack_pairs(
    pairs: Sequence[Pair], token_budget: int, parts: int = 1, shares: bool = True
) -> list[PairBatch]:
    """Packs pairs into micro-batches of at most `token_budget` input tokens; a longer pair has one of its
    own. Pairs that begin alike come together, and what the two sides have in common is there once.

    Args:
        parts: Among how many the micro-batches are dealt out; see `even_budget`.
        shares: As for `pack`.
    """
    everything = [row for pair in pairs for side in pair for row in side]
    budget = even_budget(everything, token_budget, parts, shares)
    packed: list[list[int]] = []
    used = budget
    for index in sorted(range(len(pairs)), key=lambda index: (pairs[index][0][0].ids, index)):
        size = input_tokens([row for side in pairs[index] for row in side], shares)
        if not packed or used + size > budget:
            packed.append([])
            used = 0
        packed[-1].append(index)
        used += size
    return [_batch(pairs, indices, shares) for indices in packed]


def _batch(pairs: Sequence[Pair], indices: Sequence[int], shares: bool) -> PairBatch:
    rows: list[TrainingSequence] = []
    side_R: list[int] = []
    for place, index in enumerate(indices):
        for side, own in enumerate(pairs[index]):
            rows += own
            side_R += [2 * place + side] * len(own)
    (micro,) = pack(rows, sum(len(row.ids) for row in rows), shares)
    side_N = torch.tensor(side_R)[micro.row_N]
    tokens_P2 = side_N.bincount(minlength=2 * len(indices)).double().view(-1, 2)
    return PairBatch(micro, tuple(indices), side_N, tokens_P2)
