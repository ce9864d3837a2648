"""Ragged rows packed into micro-batches without padding.

Two orders matter. The *flat order* of a batch runs through its rows and, within a row, through its sampled
tokens; every per-token value that outlives a micro-batch (engine, old and reference log-probabilities,
entropies) is a tensor [S] in flat order. A micro-batch scores N of those tokens; `row_N` and `token_N` say
which, so that values come in with `values_S[micro_batch.token_N]` or `values_R[micro_batch.row_N]` and go
back with `values_S[micro_batch.token_N] = scored`, whatever the packing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ludus.agents.episode import TrainingSequence

DEFAULT_TOKEN_BUDGET = 1024
"""Input tokens per micro-batch. The fastest of 512 to 8,192 on two CPU cores, both for a model of width 256
with a vocabulary of 32,768 tokens (benchmarks/grpo_step.py) and for one of width 192 with 1,024, and small
enough that `linear_logprob` keeps its probabilities instead of computing them again."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Segments laid end to end; T input tokens, N scored tokens. Only sampled tokens are scored.

    A row's input ends before its last sampled token, since nothing after that is needed to score it.
    """

    ids_T: Tensor
    positions_T: Tensor
    """Position of each token in its own row, from 0."""
    lengths: tuple[int, ...]
    """Input tokens of each segment, in order."""
    scored_N: Tensor
    """Index into T of the position whose logits predict the scored token: one before the token itself."""
    targets_N: Tensor
    """The scored token."""
    row_N: Tensor
    """The row that it belongs to, as an index into the packed sequences."""
    token_N: Tensor
    """Its index in the batch's flat order."""

    @property
    def tokens(self) -> int:
        return len(self.ids_T)

    @property
    def offsets(self) -> Tensor:
        """Where each row's scored tokens begin among the N, and where those of the last row end."""
        counts = torch.unique_consecutive(self.row_N, return_counts=True)[1]
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    def to(self, device: torch.device | str) -> "MicroBatch":
        """The same on another device."""
        return MicroBatch(
            self.ids_T.to(device),
            self.positions_T.to(device),
            self.lengths,
            self.scored_N.to(device),
            self.targets_N.to(device),
            self.row_N.to(device),
            self.token_N.to(device),
        )


def pack(rows: Sequence[TrainingSequence], token_budget: int = DEFAULT_TOKEN_BUDGET) -> list[MicroBatch]:
    """Packs rows into micro-batches of at most `token_budget` input tokens, longest first into the first that
    has room (first-fit decreasing; rows of equal length keep their order). A row longer than the budget is a
    micro-batch of its own; a row without sampled tokens is left out.

    Raises ValueError for a budget below 1, and for a row whose first token is marked as sampled (nothing
    predicts it).
    """
    if token_budget < 1:
        raise ValueError(f"token_budget must be at least 1, not {token_budget}")
    scored = [_sampled_places(index, row) for index, row in enumerate(rows)]
    first_token = [0]
    for places in scored:
        first_token.append(first_token[-1] + len(places))
    by_length = sorted(
        (i for i, places in enumerate(scored) if places), key=lambda i: scored[i][-1], reverse=True
    )
    bins: list[list[int]] = []
    room: list[int] = []
    for i in by_length:
        length = scored[i][-1]
        slot = next((b for b, left in enumerate(room) if left >= length), None)
        if slot is None:
            bins.append([])
            room.append(token_budget)
            slot = len(bins) - 1
        bins[slot].append(i)
        room[slot] -= length
    return [_micro_batch(rows, scored, first_token, members) for members in bins]


def sampled_counts(rows: Sequence[TrainingSequence]) -> Tensor:
    """Sampled tokens of each row, [R] int64."""
    return torch.tensor([sum(row.sampled) for row in rows], dtype=torch.int64)


def flat_logprobs(rows: Sequence[TrainingSequence]) -> Tensor:
    """The engine's log-probability of each sampled token, in flat order, [S] float32."""
    return torch.tensor(
        [p for row in rows for p, sampled in zip(row.logprobs, row.sampled, strict=True) if sampled],
        dtype=torch.float32,
    )


def _sampled_places(index: int, row: TrainingSequence) -> list[int]:
    if not len(row.ids) == len(row.sampled) == len(row.logprobs):
        raise ValueError(
            f"row {index} has {len(row.ids)} ids, {len(row.sampled)} marks and {len(row.logprobs)} "
            "log-probabilities; there must be one of each per token"
        )
    places = [t for t, sampled in enumerate(row.sampled) if sampled]
    if places and places[0] == 0:
        raise ValueError(
            f"row {index}: its first token is marked as sampled, but no token comes before it to predict it; "
            "was the prompt left out of the row?"
        )
    return places


def _micro_batch(
    rows: Sequence[TrainingSequence], scored: list[list[int]], first_token: list[int], members: list[int]
) -> MicroBatch:
    ids: list[int] = []
    positions: list[int] = []
    places: list[int] = []
    targets: list[int] = []
    row_of: list[int] = []
    token_of: list[int] = []
    for i in members:
        row, length, offset = rows[i], scored[i][-1], len(ids)
        ids += row.ids[:length]
        positions += range(length)
        places += [offset + t - 1 for t in scored[i]]
        targets += [row.ids[t] for t in scored[i]]
        row_of += [i] * len(scored[i])
        token_of += range(first_token[i], first_token[i + 1])
    return MicroBatch(
        ids_T=torch.tensor(ids),
        positions_T=torch.tensor(positions),
        lengths=tuple(scored[i][-1] for i in members),
        scored_N=torch.tensor(places),
        targets_N=torch.tensor(targets),
        row_N=torch.tensor(row_of),
        token_N=torch.tensor(token_of),
    )
