"""Attention over a forest of rows (`batches.prefixes`): a token sees what it follows in its own row.

Queries are cut into blocks of consecutive tokens, which may be of several branches. A block's keys are the
tokens before it that any of its tokens follows, and its own; a mask says which token sees which. A long root,
which follows nothing, is one block without a mask.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from ludus.tools.errors import UserError
from ludus.trainers.batches.prefixes import Branch

ATTENTION = "ludus_packed"
"""The name under which `packed_attention` is registered with transformers."""

BLOCK = {"cpu": 128}
"""Queries of a block, by kind of device. Fewer make more calls; more compute more that the mask takes out."""
OTHER_BLOCK = 1024


class UnsupportedModel(UserError):
    """The model's log-probabilities cannot be computed from packed hidden states."""


@dataclass(frozen=True, slots=True)
class Block:
    """Q queries and K keys."""

    begin: int
    end: int
    """The queries, as a range of T."""
    keys_K: Tensor | slice
    """Where the keys lie in T."""
    mask_QK: Tensor | None
    """0 where a query sees a key, else -∞; None: each sees itself and those before it."""


class AttentionPlan:
    """The blocks of one micro-batch, made once for all layers.

    Args:
        branches: In the order of T.
        positions_T: Of each token in its row.
    """

    def __init__(self, branches: tuple[Branch, ...], positions_T: Tensor) -> None:
        self.branches = branches
        self._positions_T = positions_T.numpy(force=True)
        self._blocks: dict[tuple[int | None, torch.dtype, torch.device], list[Block]] = {}

    @property
    def lengths(self) -> tuple[int, ...] | None:
        """Of the rows, if they share nothing."""
        if any(branch.prefix for branch in self.branches):
            return None
        return tuple(branch.length for branch in self.branches)

    def blocks(self, window: int | None, like: Tensor) -> list[Block]:
        """
        Args:
            window: A token sees itself and the `window` - 1 before it; None: all.
            like: Of the masks' type and device.
        """
        key = (window, like.dtype, like.device)
        if key not in self._blocks:
            size = BLOCK.get(like.device.type, OTHER_BLOCK)
            queries = _queries(self.branches, size)
            self._blocks[key] = [self._block(*places, window, like) for places in queries]
        return self._blocks[key]

    def _block(self, begin: int, end: int, window: int | None, like: Tensor) -> Block:
        inside = [branch for branch in self.branches if branch.begin < end and branch.end > begin]
        first = inside[0]
        is_root = len(inside) == 1 and first.begin == begin and not first.prefix
        if is_root and (window is None or end - begin <= window):
            return Block(begin, end, slice(begin, end), None)
        seen = [ahead for branch in inside for ahead in (*branch.prefix, (branch.begin, end))]
        used = np.zeros(end, bool)
        for start, stop in seen:
            used[start : min(stop, begin)] = True
        used[begin:end] = True
        keys = used.nonzero()[0]
        column = np.cumsum(used) - 1
        sees_QK = np.zeros((end - begin, len(keys)), bool)
        for branch in inside:
            rows = slice(max(branch.begin, begin) - begin, min(branch.end, end) - begin)
            for start, stop in branch.prefix:
                sees_QK[rows, column[start] : column[stop - 1] + 1] = True
            sees_QK[rows, column[branch.begin] : column[min(branch.end, end) - 1] + 1] = True
        place_K, place_Q = keys[None, :], np.arange(begin, end)[:, None]
        sees_QK &= place_K <= place_Q
        if window is not None:
            sees_QK &= self._positions_T[place_Q] - self._positions_T[place_K] < window
        mask_QK = torch.zeros(sees_QK.shape, dtype=like.dtype)
        mask_QK.masked_fill_(torch.from_numpy(~sees_QK), -torch.inf)
        together = int(keys[0]), int(keys[-1]) + 1
        where = (
            slice(*together)
            if together[1] - together[0] == len(keys)
            else torch.from_numpy(keys).to(like.device)
        )
        return Block(begin, end, where, mask_QK.to(like.device))


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
            "rows cannot be packed; choose a model that does"
        )
    if softcap is not None or s_aux is not None or position_bias is not None:
        raise UnsupportedModel(
            f"{type(module).__name__} caps its attention logits, has attention sinks or adds a position "
            "bias, which packed attention does not have; choose a model without them"
        )
    lengths = attention_plan.lengths
    if lengths is not None and query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return _varlen_attention(query, key, value, lengths, scaling, sliding_window), None
    outputs = [
        scaled_dot_product_attention(
            query[:, :, block.begin : block.end],
            key[:, :, block.keys_K],
            value[:, :, block.keys_K],
            attn_mask=block.mask_QK,
            is_causal=block.mask_QK is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        ).transpose(1, 2)
        for block in attention_plan.blocks(sliding_window, query)
    ]
    return torch.cat(outputs, dim=1), None


AttentionInterface.register(ATTENTION, packed_attention)


def _queries(branches: tuple[Branch, ...], size: int) -> Iterator[tuple[int, int]]:
    """Ranges of T: long roots whole, the rest in blocks."""
    begin = end = 0
    for branch in branches:
        if branch.length >= size and not branch.prefix:
            yield from _cut(begin, branch.begin, size)
            yield branch.begin, branch.end
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
