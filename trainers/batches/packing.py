"""Ragged rows packed into micro-batches without padding.

Two orders matter. The *flat order* of a batch runs through its rows and, within a row, through its sampled
tokens; every per-token value that outlives a micro-batch (engine, old and reference log-probabilities,
entropies) is a tensor [S] in flat order. A micro-batch scores N of those tokens; `row_N` and `token_N` say
which, so that values come in with `values_S[micro_batch.token_N]` or `values_R[micro_batch.row_N]` and go
back with `values_S[micro_batch.token_N] = scored`, whatever the packing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from ludus.agents.episode import TrainingSequence
from ludus.agents.kept import Ids as KeptIds
from ludus.kernels import Support
from ludus.trainers.batches.prefixes import Branch, Forest, Ids

DEFAULT_TOKEN_BUDGET = 1024
"""Input tokens per micro-batch. The fastest of 512 to 8,192 on two CPU cores, both for a model of width 256
with a vocabulary of 32,768 tokens (benchmarks/grpo_step.py) and for one of width 192 with 1,024, and small
enough that `linear_logprob` keeps its probabilities instead of computing them again."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """A forest of rows; T input tokens, P predictions, N scored tokens. Only sampled tokens are scored.

    What rows have in common is there once (see `prefixes`), and so is a token that several of them sampled in
    the same context, among the same ids. A row's input ends before its last sampled token, since nothing
    after that is needed to score it.
    """

    ids_T: Tensor
    positions_T: Tensor
    """Position of each token in its own row, from 0."""
    branches: tuple[Branch, ...]
    places_P: Tensor
    """Index into T of the position whose logits predict: one before the token itself."""
    targets_P: Tensor
    """The token that it predicts."""
    prediction_N: Tensor
    """Index into P: which prediction scores the token."""
    row_N: Tensor
    """The row that it belongs to, as an index into the packed sequences."""
    token_N: Tensor
    """Its index in the batch's flat order."""
    support_P: Support | None = None
    """The ids that the token was drawn among; None: among all."""
    pictures: tuple[str, ...] = ()
    """The pictures of its rows, as data URLs."""

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
        return replace(
            self,
            ids_T=self.ids_T.to(device),
            positions_T=self.positions_T.to(device),
            places_P=self.places_P.to(device),
            targets_P=self.targets_P.to(device),
            prediction_N=self.prediction_N.to(device),
            row_N=self.row_N.to(device),
            token_N=self.token_N.to(device),
            support_P=None if self.support_P is None else self.support_P.to(device),
        )


def pack(
    rows: Sequence[TrainingSequence], token_budget: int = DEFAULT_TOKEN_BUDGET, shares: bool = True
) -> list[MicroBatch]:
    """Packs rows into micro-batches of at most `token_budget` input tokens, in lexicographic order, so that
    those that begin alike come together; the next one begins where a row does not fit any more. A row longer
    than the budget begins a micro-batch, and only rows that add nothing to it follow; a row without sampled
    tokens is left out.

    Args:
        shares: whether what rows have in common is there once; a model that goes over each row by itself
            (`forward.packs`) would compute it, beyond the budget, for every row.

    Raises ValueError for a budget below 1, for a row whose first token is marked as sampled (nothing
    predicts it), for rows of which some were drawn among all ids and others not, and for a token that is not
    in its kept set.
    """
    if token_budget < 1:
        raise ValueError(f"token_budget must be at least 1, not {token_budget}")
    sampled = [_sampled_places(index, row) for index, row in enumerate(rows)]
    if len({row.kept is None for row, places in zip(rows, sampled, strict=True) if places}) > 1:
        raise ValueError("some rows have kept sets and others none: pack those apart that were sampled apart")
    first_token = [0, *accumulate(map(len, sampled))]
    packed: list[_Packer] = []
    for i, row in _inputs(rows, sampled):
        if not packed or not packed[-1].forest.has_room(row, token_budget):
            packed.append(_Packer(shares))
        packed[-1].add(i, row, rows[i], sampled[i], first_token[i])
    return [packer.micro_batch() for packer in packed]


def even_budget(rows: Sequence[TrainingSequence], token_budget: int, parts: int, shares: bool = True) -> int:
    """The budget with which the rows make about the same number of micro-batches for each of `parts`, of
    about the same size."""
    if parts == 1:
        return token_budget
    tokens = input_tokens(rows, shares)
    count = parts * max(1, -(-tokens // (parts * token_budget)))
    return max(1, -(-tokens // count))


def input_tokens(rows: Sequence[TrainingSequence], shares: bool = True) -> int:
    """Of the rows in one micro-batch."""
    forest = Forest(shares)
    for _, row in _inputs(rows, [_sampled_places(index, row) for index, row in enumerate(rows)]):
        forest.add(row)
    return forest.tokens


def _inputs(rows: Sequence[TrainingSequence], sampled: Sequence[Sequence[int]]) -> Iterator[tuple[int, Ids]]:
    """The rows' inputs, in lexicographic order, with their indices."""
    inputs = {i: row.ids[: sampled[i][-1]] for i, row in enumerate(rows) if sampled[i]}
    for i in sorted(inputs, key=lambda i: (inputs[i], i)):
        yield i, np.array(inputs[i])


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
    if row.kept is not None and len(row.kept) != len(places):
        raise ValueError(
            f"row {index} has {len(row.kept)} kept sets for {len(places)} sampled tokens; there must be one "
            "for each"
        )
    if places and places[0] == 0:
        raise ValueError(
            f"row {index}: its first token is marked as sampled, but no token comes before it to predict it; "
            "was the prompt left out of the row?"
        )
    return places


class _Packer:
    """One micro-batch in the making."""

    def __init__(self, shares: bool) -> None:
        self.forest = Forest(shares)
        self._places: list[Ids] = []
        self._targets: list[int] = []
        self._rows: list[int] = []
        self._tokens: list[int] = []
        self._kept: list[KeptIds] = []
        self._pictures: dict[str, None] = {}

    def add(
        self, index: int, input: Ids, row: TrainingSequence, sampled: Sequence[int], first_token: int
    ) -> None:
        where = self.forest.add(input)
        self._places.append(where[np.array(sampled) - 1])
        self._targets += [row.ids[t] for t in sampled]
        self._rows += [index] * len(sampled)
        self._tokens += range(first_token, first_token + len(sampled))
        self._kept += row.kept or ()
        self._pictures |= dict.fromkeys(row.pictures)

    def micro_batch(self) -> MicroBatch:
        places_N, targets_N = np.concatenate(self._places), np.array(self._targets)
        set_N, sets = _numbered(self._kept) if self._kept else (0, 1)
        words = int(targets_N.max()) + 1
        predictions_N = (places_N * words + targets_N) * sets + set_N
        _, first_P, prediction_N = np.unique(predictions_N, return_index=True, return_inverse=True)
        kept = [self._kept[first] for first in first_P] if self._kept else []
        return MicroBatch(
            ids_T=torch.from_numpy(np.concatenate(self.forest.ids)),
            positions_T=torch.from_numpy(np.concatenate(self.forest.positions)),
            branches=tuple(self.forest.branches),
            places_P=torch.from_numpy(places_N[first_P]),
            targets_P=torch.from_numpy(targets_N[first_P]),
            prediction_N=torch.from_numpy(prediction_N),
            row_N=torch.tensor(self._rows),
            token_N=torch.tensor(self._tokens),
            support_P=_support(kept, targets_N[first_P]) if kept else None,
            pictures=tuple(self._pictures),
        )


def _numbered(kept: Sequence[KeptIds]) -> tuple[Ids, int]:
    """A number for each set, the same for equal ones, and how many different ones there are."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(ids.tobytes(), len(numbers)) for ids in kept]), len(numbers)


def _support(kept: Sequence[KeptIds], targets_P: Ids) -> Support:
    ids, sizes = np.concatenate(kept), np.array([len(among) for among in kept])
    if np.count_nonzero(ids == np.repeat(targets_P, sizes)) != len(kept):
        raise ValueError("a sampled token is not in its kept set: the sets are those of other tokens")
    return Support(torch.from_numpy(ids), torch.from_numpy(np.concatenate([[0], sizes.cumsum()])))
