"""The formula, slow and plain; takes the same arguments as the operator."""

import torch
from torch import Tensor


def linear_logprob_reference(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`z = (hidden weightᵀ + bias) / temperature`; returns `log_softmax(z)[n, targets[n]]` and the entropy
    `-Σ_v p_v log p_v` of each row, in float32 (float64 for float64 inputs). All of it is differentiable.

    hidden [N, H], weight [V, H], targets [N] integers in [0, V), bias [V] or None.
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    logits = torch.nn.functional.linear(
        hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    )
    logprobs_NV = torch.log_softmax(logits / temperature, dim=-1)
    entropy_N = -(logprobs_NV.exp() * logprobs_NV).sum(-1)
    return logprobs_NV.gather(1, targets[:, None]).squeeze(1), entropy_N
