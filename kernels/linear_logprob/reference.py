"""The formula, plain and in memory; takes the same arguments as the operator."""

import torch
from torch import Tensor
from torch.nn.functional import linear

from ludus.kernels.arguments import accumulation_dtype, temperature_rows
from ludus.kernels.logprob_entropy.reference import logprob_entropy_of


def linear_logprob_reference(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float | Tensor = 1.0,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """With z = softcap(hidden weightᵀ + bias) / temperature, softcap(x) = c tanh(x / c) (Gemma 2, arXiv
    2408.00118), and p = softmax(z), for each row m:

        logprob = log p[t],   t = targets[m]
        entropy = -Σ_v p_v log p_v,   0 log 0 = 0
        lse     = log Σ_v exp z_v

    hidden [M, H], weight [V, H], targets [M], temperature a number or [M], bias [V] or None, softcap a number
    or None. Returns (logprobs, entropy, lse), each [M], float32 (float64 for float64), differentiable.
    """
    dtype = accumulation_dtype(hidden)
    # In float64, since the backward's products add over all rows, and over the whole vocabulary.
    x = linear(hidden.double(), weight.double(), None if bias is None else bias.double()).to(dtype)
    if softcap is not None:
        x = softcap * torch.tanh(x / softcap)
    z = x / temperature_rows(temperature, len(x), x.device, dtype)[:, None]
    logprobs, entropy = logprob_entropy_of(z, targets)
    masked = (z == -torch.inf).all(1)
    peak = torch.where(masked, 0.0, z.detach().amax(1))  # taken off first: see logprob_entropy_of
    lse = peak + torch.where(masked[:, None], 0.0, z - peak[:, None]).logsumexp(1)
    return logprobs, entropy, torch.where(masked, -torch.inf, lse)
