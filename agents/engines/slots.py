"""The keys and values of many sequences in one store, and the attention over them.

A forward pass is *packed*: the new tokens of all rows lie end to end in a batch of one, [1, T, hidden], so
that only attention knows which row a token belongs to, and prompts and single tokens go through the model
together without padding. Attention itself runs over buckets of rows with similar numbers of new tokens.

`slot_attention` plugs into any `transformers` model through its `AttentionInterface`; the model passes the
keyword argument `slots` (a `Step`) down to it.
"""

import contextlib
import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import is_fake
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from ludus.agents.attention import plain_attention
from ludus.agents.engines.base import EngineError
from ludus.agents.families import FIX

Ints = NDArray[np.int64]

ATTENTION = "ludus_slots"
_BLOCK = 128
"""Lengths are multiples of it."""
_GROWTH = 200
"""By how much lengths grow at least, in percent, so that all growth together copies each position about
once."""


class SlotStore:
    """Keys and values per layer, [rows, length, kv_heads, head_dim] each, made on first use and grown as
    needed."""

    def __init__(self) -> None:
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._rows = 0
        self.length = 0
        """Positions of a row."""

    def reserve(self, rows: int, length: int) -> None:
        """Make room for `rows` sequences of `length` positions."""
        if rows <= self._rows and length <= self.length:
            return
        if rows > self._rows:
            self._rows = max(rows, 2 * self._rows)
        if length > self.length:
            self.length = -(-max(length, self.length * _GROWTH // 100) // _BLOCK) * _BLOCK
        for layer, (keys, values) in self._layers.items():
            self._layers[layer] = self._grown(keys), self._grown(values)

    def layer(
        self, layer: int, keys_TKD: torch.Tensor, values_TKD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's whole store, for keys and values like these."""
        if layer not in self._layers:
            self._layers[layer] = self._empty(keys_TKD), self._empty(values_TKD)
        return self._layers[layer]

    def write(
        self, layer: int, places_T: torch.Tensor, keys_TKD: torch.Tensor, values_TKD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put one token's key and value at each place (`row * length + position`) and return the layer's
        whole store."""
        keys, values = self.layer(layer, keys_TKD, values_TKD)
        keys.flatten(0, 1).index_copy_(0, places_T, keys_TKD)
        values.flatten(0, 1).index_copy_(0, places_T, values_TKD)
        return keys, values

    @torch.inference_mode()
    def copy(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """Copy the first `length` positions of some rows to others, all at once."""
        if not sources:
            return
        indices = torch.tensor([sources, targets])
        for tensor in chain.from_iterable(self._layers.values()):
            source_N, target_N = indices.to(tensor.device)
            tensor[:, :length].index_copy_(0, target_N, tensor[:, :length].index_select(0, source_N))

    @property
    def layers(self) -> int:
        return len(self._layers)

    def _empty(self, like_TKD: torch.Tensor) -> torch.Tensor:
        """Zeros, since masked values are multiplied by a weight of 0, and 0 times NaN is NaN."""
        shape = (self._rows, self.length, *like_TKD.shape[1:])
        if like_TKD.device.type != "cpu" or is_fake(like_TKD):
            return like_TKD.new_zeros(shape)
        # The system's own zeros take no memory and no time before they are written to; in large pages it
        # comes to the first write of one a few hundred times less often.
        zeros = mmap.mmap(-1, max(1, math.prod(shape)) * like_TKD.itemsize)
        with contextlib.suppress(AttributeError, OSError):  # a system without
            zeros.madvise(mmap.MADV_HUGEPAGE)
        return torch.frombuffer(zeros, dtype=like_TKD.dtype).view(shape)

    def _grown(self, tensor: torch.Tensor) -> torch.Tensor:
        grown = self._empty(tensor[0])
        grown[: tensor.shape[0], : tensor.shape[1]] = tensor
        return grown


@dataclass
class _Bucket:
    """Rows with similar numbers of new tokens: their queries as a padded table [m, Q]."""

    rows: slice | torch.Tensor
    """Rows of the store."""
    length: int
    """Positions of the store that any of them attends to."""
    positions_MQ: torch.Tensor
    """0 where padded: a padded query attends to the first key, and its output is never read."""
    gather_MQ: torch.Tensor | slice
    """Index of the packed token in each cell of the table."""
    places_N: torch.Tensor | None
    """Cells of the flattened table that hold a token, in packed order; None: all of them."""
    tokens: slice
    """The bucket's tokens among the packed ones."""
    biases: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def bias(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """The mask that is added to the scores, [m, 1, Q, length]: 0 where a query attends to a key, else
        -inf. Made once for all layers, and additive because CPU kernels are fastest with that form."""
        if window not in self.biases:
            keys_L = torch.arange(self.length, device=self.positions_MQ.device)
            hidden_MQL = keys_L > self.positions_MQ[:, :, None]
            if window is not None:
                hidden_MQL |= keys_L <= self.positions_MQ[:, :, None] - window
            zeros_MQL = torch.zeros(hidden_MQL.shape, dtype=dtype, device=keys_L.device)
            self.biases[window] = zeros_MQL.masked_fill_(hidden_MQL, -torch.inf)[:, None]
        return self.biases[window]


class Step:
    """One packed forward pass: which rows get which new tokens.

    Args:
        store: where keys and values go.
        row_N: rows of the store, ascending.
        cached_N: how many positions of each row are already computed.
        count_N: how many new tokens each row gets, at least one.
        id_T: the new tokens, row by row.
        rotary: by which they are rotated, [T] or, in three dimensions, [3, T]; None: their positions.
    """

    def __init__(
        self,
        store: SlotStore,
        row_N: Ints,
        cached_N: Ints,
        count_N: Ints,
        id_T: Ints,
        device: torch.device,
        rotary: Ints | None = None,
    ) -> None:
        self.store = store
        # Buckets by powers of two: padding less than doubles the work. Single tokens are the first, and have
        # a bucket of their own, without padding.
        kind_N = np.frexp(count_N - 1)[1]
        order_N = kind_N.argsort(kind="stable")
        begin_N, within_T = _ranges(count_N[order_N])
        lasts = begin_N + count_N[order_N] - 1
        position_T = within_T + cached_N[order_N].repeat(count_N[order_N])
        row_T = row_N[order_N].repeat(count_N[order_N])
        if kind_N.any():
            given_N = count_N.cumsum() - count_N
            given_T = within_T + given_N[order_N].repeat(count_N[order_N])
            id_T, rotary = id_T[given_T], None if rotary is None else rotary[..., given_T]
        last_N = np.empty_like(order_N)
        last_N[order_N] = lasts
        self.ids_1T = torch.from_numpy(id_T[None]).to(device)
        self.positions_1T = torch.from_numpy(position_T[None]).to(device)
        self.rotary = (
            self.positions_1T if rotary is None else torch.from_numpy(rotary[..., None, :]).to(device)
        )
        """[1, T] or [3, 1, T]."""
        self.rows_T = torch.from_numpy(row_T).to(device)
        self.places_T = torch.from_numpy(row_T * store.length + position_T).to(device)
        """Where the store keeps each token."""
        self.last_N = torch.from_numpy(last_N).to(device)
        """Index of each row's last new token among the packed ones."""
        self.singles = int((count_N == 1).sum())
        """How many rows get a single token; these are the first of the packed ones."""
        self.windows: set[int | None] = set()
        """With which its layers were computed so far."""
        bounds = [*np.flatnonzero(np.diff(kind_N[order_N], prepend=-1)), len(order_N)]
        self._parts = [slice(begin, end) for begin, end in pairwise(bounds)]
        self._of_part = lambda part: _bucket(
            row_N[order_N[part]], count_N[order_N[part]], begin_N[part.start], position_T, device
        )
        self._runs_N3 = np.stack([row_N[order_N], begin_N, count_N[order_N]], axis=1)

    @cached_property
    def buckets(self) -> list[_Bucket]:
        """Of all rows."""
        return [self._of_part(part) for part in self._parts]

    def runs(self, most: int) -> torch.Tensor:
        """The tokens of rows that get several, cut into runs of at most `most`: [R, 3], the row of the store,
        the index of the first token among the packed ones, and how many there are."""
        row_M, begin_M, count_M = self._runs_N3[self.singles :].T
        runs_M = -(-count_M // most)
        within_R = _ranges(runs_M)[1] * most
        row_R, begin_R, count_R = (np.repeat(each, runs_M) for each in (row_M, begin_M, count_M))
        runs_R3 = [row_R, begin_R + within_R, np.minimum(count_R - within_R, most)]
        return torch.from_numpy(np.stack(runs_R3, axis=1))


def _bucket(row_M: Ints, count_M: Ints, first: int, position_T: Ints, device: torch.device) -> _Bucket:
    """The bucket of some rows, whose tokens are packed one after another from `first` on.

    If the rows lie densely in the store, the bucket takes the whole range from the first to the last as it
    is, with padding for the rows between, which avoids copying keys and values."""
    begin, end = int(row_M[0]), int(row_M[-1]) + 1
    dense = 2 * len(row_M) >= end - begin
    rows = slice(begin, end) if dense else torch.from_numpy(row_M).to(device)
    place_M = row_M - begin if dense else np.arange(len(row_M))
    height, width = end - begin if dense else len(row_M), int(count_M.max())
    tokens = slice(first, first + int(count_M.sum()))
    position_N = position_T[tokens]
    # A multiple of 16, which fused kernels prefer for masks; the store is at least as long, and the surplus
    # is masked.
    length = -(-(int(position_N.max()) + 1) // 16) * 16
    if height * width == len(position_N):
        positions_MQ = torch.from_numpy(position_N.reshape(height, width)).to(device)
        return _Bucket(rows, length, positions_MQ, tokens, None, tokens)
    cell_N = np.repeat(place_M * width, count_M) + _ranges(count_M)[1]
    gather, positions = np.full(height * width, first), np.zeros(height * width, np.int64)
    gather[cell_N], positions[cell_N] = np.arange(tokens.start, tokens.stop), position_N
    gather_MQ, positions_MQ = (
        torch.from_numpy(table.reshape(height, width)).to(device) for table in (gather, positions)
    )
    return _Bucket(rows, length, positions_MQ, gather_MQ, torch.from_numpy(cell_N).to(device), tokens)


def _ranges(count_N: Ints) -> tuple[Ints, Ints]:
    """Where each of N ranges that lie end to end begins, and the index within its range of each of their
    elements."""
    begin_N = count_N.cumsum() - count_N
    return begin_N, np.arange(count_N.sum()) - np.repeat(begin_N, count_N)


def slot_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    *,
    slots: Step | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of packed queries to all positions of their rows.

    Args:
        query: [1, heads, T, head_dim]; key and value: [1, kv_heads, T, head_dim].

    Returns:
        [1, T, heads, head_dim], as the `AttentionInterface` requires, and no weights.

    Raises:
        EngineError: the model did not hand `slots` down.
    """
    if slots is None:
        raise EngineError(
            f"{type(module).__name__} does not pass keyword arguments on to its attention function, so the "
            f"embedded engine cannot run its model: {FIX}"
        )
    layer: int = module.layer_idx  # type: ignore[assignment]
    slots.windows.add(sliding_window)
    keys, values = slots.store.write(layer, slots.places_T, key[0].transpose(0, 1), value[0].transpose(0, 1))
    query_THD = query[0].transpose(0, 1)
    output_THD = query.new_empty(query.shape[2], query.shape[1], value.shape[3])
    for bucket in slots.buckets:
        attend(bucket, query_THD, keys, values, output_THD, sliding_window, scaling, softcap, s_aux)
    return output_THD[None], None


def attend(
    bucket: _Bucket,
    query_THD: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    output_THD: torch.Tensor,
    window: int | None,
    scale: float | None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> None:
    """Writes the attention of a bucket's tokens to a layer's whole store."""
    height, width = bucket.positions_MQ.shape
    attended = _attend(
        query_THD[bucket.gather_MQ].reshape(height, width, *query_THD.shape[1:]).transpose(1, 2),
        keys[bucket.rows, : bucket.length].transpose(1, 2),
        values[bucket.rows, : bucket.length].transpose(1, 2),
        bucket.bias(window, query_THD.dtype),
        scale,
        softcap,
        sinks,
    )
    attended = attended.transpose(1, 2).reshape(height * width, *output_THD.shape[1:])
    output_THD[bucket.tokens] = attended if bucket.places_N is None else attended[bucket.places_N]


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor,
    scale: float | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attention where `heads / kv_heads` heads share keys: [m, heads, Q, head_dim] in and out."""
    if softcap is not None or sinks is not None:
        return plain_attention(query, key, value, bias, scale, softcap, sinks)
    rows, heads, width, _ = query.shape
    kv_heads = key.shape[1]
    if width == 1:
        # Heads that share keys become queries of one head, so that the keys are read once and not repeated.
        query = query.reshape(rows, kv_heads, heads // kv_heads, -1)
        shared = scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)
        return shared.reshape(rows, heads, 1, -1)
    if query.device.type == "cpu":
        return scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale, enable_gqa=True)
    # CUDA's fused kernels take a mask or shared keys, not both.
    key, value = (tensor.repeat_interleave(heads // kv_heads, dim=1) for tensor in (key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)


AttentionInterface.register(ATTENTION, slot_attention)
