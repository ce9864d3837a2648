"""The keys and values of many sequences in one store, and the attention over them.

A forward pass is *packed*: the new tokens of all rows lie end to end in a batch of one, [1, T, hidden], so
that only attention knows which row a token belongs to, and prompts and single tokens go through the model
together without padding. Attention itself runs over buckets of rows with similar numbers of new tokens.

`slot_attention` plugs into any `transformers` model through its `AttentionInterface`; the model passes the
keyword argument `slots` (a `Step`) down to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from ludus.agents.engines.base import EngineError

ATTENTION = "ludus_slots"
_BLOCK = 128
"""Lengths grow in steps of this many positions, so that most passes allocate nothing."""


class SlotStore:
    """Keys and values per layer, [rows, kv_heads, length, head_dim] each, made on first use and grown as
    needed."""

    def __init__(self) -> None:
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._rows = 0
        self._length = 0

    def reserve(self, rows: int, length: int) -> None:
        """Make room for `rows` sequences of `length` positions at the next write."""
        if rows > self._rows:
            self._rows = max(rows, 2 * self._rows)
        if length > self._length:
            self._length = -(-length // _BLOCK) * _BLOCK

    def write(
        self,
        layer: int,
        rows_T: torch.Tensor,
        positions_T: torch.Tensor,
        keys_TKD: torch.Tensor,
        values_TKD: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put one token's key and value at each (row, position) and return the layer's whole store."""
        keys = self._keys[layer] = self._grown(self._keys.get(layer), keys_TKD)
        values = self._values[layer] = self._grown(self._values.get(layer), values_TKD)
        keys[rows_T, :, positions_T] = keys_TKD
        values[rows_T, :, positions_T] = values_TKD
        return keys, values

    @torch.inference_mode()
    def copy(self, source: int, targets: Sequence[int], length: int) -> None:
        """Copy the first `length` positions of one row to others."""
        for store in (self._keys, self._values):
            for tensor in store.values():
                for target in targets:
                    tensor[target, :, :length] = tensor[source, :, :length]

    @property
    def layers(self) -> int:
        return len(self._keys)

    def _grown(self, tensor: torch.Tensor | None, like_TKD: torch.Tensor) -> torch.Tensor:
        if tensor is not None and tensor.shape[0] >= self._rows and tensor.shape[2] >= self._length:
            return tensor
        _, heads, size = like_TKD.shape
        # zeros, not empty: masked values are multiplied by a weight of 0, and 0 times NaN is NaN
        grown = like_TKD.new_zeros(self._rows, heads, self._length, size)
        if tensor is not None:
            grown[: tensor.shape[0], :, : tensor.shape[2]] = tensor
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
        rows: rows of the store, ascending.
        cached: how many positions of each row are already computed.
        tokens: the new ids of each row, at least one.
    """

    def __init__(
        self,
        store: SlotStore,
        rows: Sequence[int],
        cached: Sequence[int],
        tokens: Sequence[Sequence[int]],
        device: torch.device,
    ) -> None:
        self.store = store
        # Buckets by powers of two: padding less than doubles the work. Single tokens have a bucket of their
        # own, without padding.
        order = sorted(range(len(rows)), key=lambda i: (len(tokens[i]) - 1).bit_length())
        packed_ids: list[int] = []
        packed_rows: list[int] = []
        packed_positions: list[int] = []
        last: dict[int, int] = {}
        members: dict[int, list[int]] = {}
        for i in order:
            new = tokens[i]
            members.setdefault((len(new) - 1).bit_length(), []).append(i)
            packed_ids += new
            packed_rows += [rows[i]] * len(new)
            packed_positions += range(cached[i], cached[i] + len(new))
            last[i] = len(packed_ids) - 1
        indices = torch.tensor([packed_ids, packed_rows, packed_positions], device=device)
        self.ids_1T = indices[:1]
        self.rows_T = indices[1]
        self.positions_1T = indices[2:]
        self.last_N = torch.tensor([last[i] for i in range(len(rows))], device=device)
        """Index of each row's last new token among the packed ones."""
        self.buckets: list[_Bucket] = []
        begin = 0
        for bucket in members.values():
            end = begin + sum(len(tokens[i]) for i in bucket)
            self.buckets.append(
                _bucket(
                    [rows[i] for i in bucket],
                    [cached[i] for i in bucket],
                    [len(tokens[i]) for i in bucket],
                    slice(begin, end),
                    device,
                )
            )
            begin = end


def _bucket(
    rows: list[int], cached: list[int], counts: list[int], tokens: slice, device: torch.device
) -> _Bucket:
    """If the rows lie densely in the store, the bucket takes the whole range from the first to the last as it
    is, with padding for the rows between, which avoids copying keys and values."""
    first, last = rows[0], rows[-1] + 1
    dense = 2 * len(rows) >= last - first
    stretch = slice(first, last) if dense else torch.tensor(rows, device=device)
    table_rows = [row - first for row in rows] if dense else list(range(len(rows)))
    height, width = (last - first if dense else len(rows)), max(counts)
    # A multiple of 16, which fused kernels prefer for masks; the store is at least as long, and the surplus
    # is masked.
    length = -(-max(n + new for n, new in zip(cached, counts, strict=True)) // 16) * 16
    if height * width == tokens.stop - tokens.start:
        positions = torch.tensor(
            [range(n, n + new) for n, new in zip(cached, counts, strict=True)], device=device
        )
        return _Bucket(stretch, length, positions, tokens, None, tokens)
    gather = [[tokens.start] * width for _ in range(height)]
    positions_table = [[0] * width for _ in range(height)]
    places: list[int] = []
    token = tokens.start
    for place, n, new in zip(table_rows, cached, counts, strict=True):
        gather[place][:new] = range(token, token + new)
        positions_table[place][:new] = range(n, n + new)
        places += range(place * width, place * width + new)
        token += new
    return _Bucket(
        stretch,
        length,
        torch.tensor(positions_table, device=device),
        torch.tensor(gather, device=device),
        torch.tensor(places, device=device),
        tokens,
    )


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
    slots: Step,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of packed queries to all positions of their rows.

    Args:
        query: [1, heads, T, head_dim]; key and value: [1, kv_heads, T, head_dim].

    Returns:
        [1, T, heads, head_dim], as the `AttentionInterface` requires, and no weights.
    """
    if softcap is not None or s_aux is not None:
        raise EngineError(
            f"{type(module).__name__} uses soft-capped scores or attention sinks, which the embedded engine "
            "does not have: use another model, or a server"
        )
    layer: int = module.layer_idx  # type: ignore[assignment]
    keys, values = slots.store.write(
        layer, slots.rows_T, slots.positions_1T[0], key[0].transpose(0, 1), value[0].transpose(0, 1)
    )
    query_THD = query[0].transpose(0, 1)
    output_THD = query.new_empty(query.shape[2], query.shape[1], value.shape[3])
    for bucket in slots.buckets:
        height, width = bucket.positions_MQ.shape
        attended = _attend(
            query_THD[bucket.gather_MQ].reshape(height, width, *query_THD.shape[1:]).transpose(1, 2),
            keys[bucket.rows, :, : bucket.length],
            values[bucket.rows, :, : bucket.length],
            bucket.bias(sliding_window, query.dtype),
            scaling,
        )
        attended = attended.transpose(1, 2).reshape(height * width, *output_THD.shape[1:])
        output_THD[bucket.tokens] = attended if bucket.places_N is None else attended[bucket.places_N]
    return output_THD[None], None


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor, scale: float | None
) -> torch.Tensor:
    """Attention where `heads / kv_heads` heads share keys: [m, heads, Q, head_dim] in and out."""
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
