"""A number that changes with a model's weights."""

from collections.abc import Iterable

import torch
from torch import Tensor

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ODD = 0x9E3779B97F4A7C15
"""2⁶⁴ over the golden ratio, whose multiples spread over all 64 bits (Knuth, TAOCP 3, section 6.4)."""

_SLAB = 2**20
"""Numbers that are summed together."""


@torch.no_grad()
def weights_fingerprint(weights: Iterable[tuple[str, Tensor]]) -> int:
    """Of the bits of the tensors, their places in each, and their order; 64 bits. The same on every device
    and for every process. A hash against accidents, not against intent.

    Args:
        weights: As `named_parameters` gives them. Each is read once, without a copy of its size.
    """
    total = 0
    for number, (_, tensor) in enumerate(weights, 1):
        bits = tensor.detach().contiguous().view(_INTEGERS[tensor.element_size()]).flatten()
        width = 1 << max(0, (len(bits).bit_length() - 1) // 2)
        table = bits[: len(bits) - len(bits) % width].view(-1, width)
        # Sums by row and by column, each weighed by its number, notice two numbers that change places.
        slabs = table.split(max(1, _SLAB // width))  # which are copied, as numbers of 64 bits
        by_column = torch.zeros(width, dtype=torch.int64, device=bits.device)
        for slab in slabs:
            by_column += slab.sum(0, dtype=torch.int64)
        by_row = torch.cat([slab.sum(1, dtype=torch.int64) for slab in slabs])
        parts = [by_column, by_row, bits[table.numel() :]]
        for part in parts:
            places = torch.arange(1, len(part) + 1, device=part.device) * 2 - 1
            total = (total * 31 + int((part.to(torch.int64) * places).sum()) + number) * _ODD % 2**64
    return total
