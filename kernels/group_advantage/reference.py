"""The formula, group by group; takes the same arguments as the operator."""

from typing import Literal

import torch
from torch import Tensor

from ludus.kernels.arguments import accumulation_dtype

AdvantageKind = Literal["grpo", "dr_grpo", "rloo"]

FLAT_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-6}
"""A group whose rewards differ by no more than this, relative to the largest (or to 1), is flat: the
difference is rounding (0.1 + 0.2 against 0.3), and dividing by it would make noise as large as a success.
In float32 that is 8 units in the last place."""


def group_advantage_reference(
    rewards: Tensor, group_ids: Tensor, kind: AdvantageKind = "grpo"
) -> tuple[Tensor, Tensor]:
    """(values [E], flat [E] bool); see `group_advantage` for the arguments and the formula."""
    dtype = accumulation_dtype(rewards)
    rewards_E = rewards.to(dtype)
    values_E = torch.zeros_like(rewards_E)
    flat_E = torch.zeros(rewards.shape, dtype=torch.bool, device=rewards.device)
    for name in group_ids.unique():
        members = (group_ids == name).nonzero().squeeze(1)
        rewards_G = rewards_E[members]
        if not rewards_G.isfinite().all():
            values_E[members] = torch.nan
            continue
        spread = rewards_G.max() - rewards_G.min()
        if len(members) == 1 or spread <= FLAT_TOLERANCE[dtype] * max(1.0, float(rewards_G.abs().max())):
            flat_E[members] = True
            continue
        centred_G = rewards_G - rewards_G.mean()
        match kind:
            case "grpo":
                values_E[members] = centred_G / rewards_G.std()
            case "dr_grpo":
                values_E[members] = centred_G
            case "rloo":
                others_G = (rewards_G.sum() - rewards_G) / (len(members) - 1)
                values_E[members] = rewards_G - others_G
    return values_E, flat_E
