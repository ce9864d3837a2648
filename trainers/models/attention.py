"""Attention over a forest of rows (`batches.prefixes`): a token sees what it follows in its own row.

Queries are cut into blocks of consecutive tokens, short branches together, long ones by themselves. A block's
keys are the tokens before it that any of its tokens follows, and its own; a mask says which token sees which.
A long root, which follows nothing, is one block without a mask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

from ludus.agents.attention import plain_attention
from ludus.agents.families import FIX
from ludus.tools.errors import UserError
from ludus.trainers.batches.prefixes import Branch

ATTENTION = "ludus_packed"
"""The name under which `packed_attention` is registered with transformers."""

BLOCK = {"cpu": 128}
"""Queries of a block, by kind of device. Fewer make more calls; more compute more that the mask takes out."""
OTHER_BLOCK = 1024
LONG_BLOCK = 512
"""Queries of a block within one long branch, of which the mask takes out little."""


class UnsupportedModel(UserError):
    """The model's log-probabilities cannot be computed from packed hidden states."""


@dataclass(frozen=True, slots=True)
class Block:
    """Q queries and K keys."""

    length: int
    """Q; the blocks lie end to end in T."""
    pieces: tuple[int, ...]
    """Which pieces of T hold the keys."""
    mask_QK: Tensor | None
    """0 where a query sees a key, else -∞; None: each sees itself and those before it."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """T, cut twice: the queries into blocks, the keys into pieces that blocks take whole.

    The gradient of a slice is as long as what it was taken of; that of a piece is not.
    """

    blocks: tuple[Block, ...]
    pieces: tuple[int, ...]
    """Their lengths."""


class AttentionPlan:
    """The blocks of one micro-batch, made once for all layers.

    Args:
        branches: In the order of T.
        positions_T: Of each token in its row.
    """

    def __init__(self, branches: tuple[Branch, ...], positions_T: Tensor) -> None:
        self.branches = branches
        self._positions_T = positions_T.numpy(force=True)
        self._blocks: dict[tuple[int | None, torch.dtype, torch.device], Blocks] = {}

    @property
    def windows(self) -> frozenset[int | None]:
        """With which layers were computed so far, by blocks."""
        return frozenset(window for window, *_ in self._blocks)

    @property
    def lengths(self) -> tuple[int, ...] | None:
        """Of the rows, if they share nothing."""
        if any(branch.prefix for branch in self.branches):
            return None
        return tuple(branch.length for branch in self.branches)

    def blocks(self, window: int | None, like: Tensor) -> Blocks:
        """
        Args:
            window: A token sees itself and the `window` - 1 before it; None: all.
            like: Of the masks' type and device.
        """
        key = (window, like.dtype, like.device)
        if key not in self._blocks:
            size = BLOCK.get(like.device.type, OTHER_BLOCK)
            queries = list(_queries(self.branches, size))
            keys = [self._keys(*block) for block in queries]
            bounds = sorted({0, *(bound for runs in keys for run in runs for bound in run)})
            at = {bound: index for index, bound in enumerate(bounds)}
            self._blocks[key] = Blocks(
                tuple(
                    Block(
                        end - begin,
                        tuple(piece for start, stop in runs for piece in range(at[start], at[stop])),
                        self._mask(begin, end, runs, window, like),
                    )
                    for (begin, end), runs in zip(queries, keys, strict=True)
                ),
                tuple(stop - start for start, stop in pairwise(bounds)),
            )
        return self._blocks[key]

    def _inside(self, begin: int, end: int) -> list[Branch]:
        return [branch for branch in self.branches if branch.begin < end and branch.end > begin]

    def _keys(self, begin: int, end: int) -> list[tuple[int, int]]:
        """The ranges of T that any token of a block sees; its own, whole, is the last."""
        used = np.zeros(begin, bool)
        for branch in self._inside(begin, end):
            for start, stop in (*branch.prefix, (branch.begin, end)):
                used[start:stop] = True
        edges = np.flatnonzero(np.diff(used, prepend=False, append=False)).tolist()
        return [*zip(edges[::2], edges[1::2], strict=True), (begin, end)]

    def _mask(
        self, begin: int, end: int, runs: Sequence[tuple[int, int]], window: int | None, like: Tensor
    ) -> Tensor | None:
        inside = self._inside(begin, end)
        is_root = len(inside) == 1 and inside[0].begin == begin and not inside[0].prefix
        if is_root and (window is None or end - begin <= window):
            return None
        sees_QT = np.zeros((end - begin, end), bool)
        for branch in inside:
            rows = slice(max(branch.begin, begin) - begin, min(branch.end, end) - begin)
            for start, stop in (*branch.prefix, (branch.begin, min(branch.end, end))):
                sees_QT[rows, start:stop] = True
        place_K, place_Q = np.concatenate([np.arange(*run) for run in runs]), np.arange(begin, end)[:, None]
        sees_QK = sees_QT[:, place_K] & (place_K <= place_Q)
        if window is not None:
            sees_QK &= self._positions_T[place_Q] - self._positions_T[place_K] < window
        mask_QK = torch.zeros(sees_QK.shape, dtype=like.dtype)
        mask_QK.masked_fill_(torch.from_numpy(~sees_QK), -torch.inf)
        return mask_QK.to(like.device)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    attention_plan: AttentionPlan | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """An attention function for transformers: a token sees what it follows in its row.

    query [1, heads, T, D], key and value [1, key heads, T, D]. Returns [1, T, heads, D].
    """
    if attention_plan is None:
        raise UnsupportedModel(
            f"{type(module).__name__} does not pass keyword arguments on to its attention function, so its "
            f"rows cannot be packed; {FIX}"
        )
    if position_bias is not None:
        raise UnsupportedModel(
            f"{type(module).__name__} adds a position bias, which packed attention does not have; {FIX}"
        )
    plain = softcap is not None or s_aux is not None
    lengths = attention_plan.lengths
    if lengths is not None and not plain and query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return _varlen_attention(query, key, value, lengths, scaling, sliding_window), None
    cut = attention_plan.blocks(sliding_window, query)
    queries = query.split([block.length for block in cut.blocks], dim=2)
    keys, values = (tensor.split(cut.pieces, dim=2) for tensor in (key, value))

    def attend(query_Q: Tensor, key_K: Tensor, value_K: Tensor, mask_QK: Tensor | None) -> Tensor:
        if plain:
            if mask_QK is None:
                mask_QK = query_Q.new_full((query_Q.shape[2], key_K.shape[2]), -torch.inf).triu(1)
            # Computed again for the gradient: only here the scores exist as a whole.
            attended = checkpoint(
                plain_attention,
                *(query_Q, key_K, value_K, mask_QK, scaling, softcap, s_aux),
                use_reentrant=False,
                preserve_rng_state=False,
            )
            assert isinstance(attended, Tensor)
            return attended
        return scaled_dot_product_attention(
            query_Q,
            key_K,
            value_K,
            attn_mask=mask_QK,
            is_causal=mask_QK is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )

    outputs = [
        attend(
            query_Q,
            torch.cat([keys[piece] for piece in block.pieces], dim=2),
            torch.cat([values[piece] for piece in block.pieces], dim=2),
            block.mask_QK,
        ).transpose(1, 2)
        for query_Q, block in zip(queries, cut.blocks, strict=True)
    ]
    return torch.cat(outputs, dim=1), None


AttentionInterface.register(ATTENTION, packed_attention)


def _queries(branches: tuple[Branch, ...], size: int) -> Iterator[tuple[int, int]]:
    """Ranges of T: long roots whole, long branches by themselves, the rest in blocks."""
    begin = end = 0
    for branch in branches:
        if branch.length >= size:
            yield from _cut(begin, branch.begin, size)
            whole = branch.length if not branch.prefix else max(size, LONG_BLOCK)
            yield from _cut(branch.begin, branch.end, whole)
            begin = branch.end
        end = branch.end
    yield from _cut(begin, end, size)


def _cut(begin: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(begin, end, size):
        yield start, min(start + size, end)


def _varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: tuple[int, ...],
    scaling: float | None,
    window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    bounds = torch.tensor([0, *lengths], device=query.device).cumsum(0, dtype=torch.int32)
    output = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        bounds,
        bounds,
        max(lengths),
        max(lengths),
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(output, Tensor)  # a tuple only if more was asked for
    return output[None]
