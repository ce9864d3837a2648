"""Torch: episodes sorted by group, then sums over segments. Rewards are taken relative to one reward of their
group, so that a common offset costs no digits."""

import torch
from torch import Tensor

from ludus.kernels.arguments import accumulation_dtype
from ludus.kernels.group_advantage.reference import FLAT_TOLERANCE, AdvantageKind


def forward(rewards: Tensor, group_ids: Tensor, kind: AdvantageKind) -> tuple[Tensor, Tensor]:
    """(values [E], flat [E])."""
    dtype = accumulation_dtype(rewards)
    ids, order = group_ids.sort(stable=True)
    _, group_E, sizes_G = ids.unique_consecutive(return_inverse=True, return_counts=True)
    begins_G = sizes_G.cumsum(0) - sizes_G

    def reduce(values_E: Tensor, how: str) -> Tensor:
        # In float64, since a segment is added up sequentially.
        return torch.segment_reduce(values_E.double(), how, lengths=sizes_G).to(dtype)[group_E]

    sorted_E = rewards.to(dtype)[order]
    finite = reduce(sorted_E.isfinite().to(dtype), "min") == 1.0
    r = torch.where(finite, sorted_E, 0.0)
    highest, lowest = reduce(r, "max"), reduce(r, "min")
    spread = highest - lowest
    scale = torch.maximum(highest.abs(), lowest.abs()).clamp(min=1.0)
    flat = finite & (spread <= FLAT_TOLERANCE[dtype] * scale)
    n = sizes_G[group_E].to(dtype)

    relative = r - r[begins_G[group_E]]
    centred = relative - reduce(relative, "sum") / n
    match kind:
        case "grpo":
            unit = centred / torch.where(flat | ~finite, 1.0, spread)
            values = unit * ((n - 1.0) / reduce(unit.square(), "sum")).sqrt()
        case "dr_grpo":
            values = centred
        case "rloo":
            values = centred * n / (n - 1.0)
    values = torch.where(flat, 0.0, torch.where(finite, values, torch.nan))
    return torch.empty_like(values).scatter_(0, order, values), torch.empty_like(flat).scatter_(
        0, order, flat
    )
