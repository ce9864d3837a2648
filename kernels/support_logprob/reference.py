"""The formula, plain and in memory; takes the same arguments as the operator."""

import torch
from torch import Tensor
from torch.nn.functional import linear

from ludus.kernels.arguments import temperature_rows
from ludus.kernels.linear_logprob.op import LinearLogprob
from ludus.kernels.logprob_entropy.reference import logprob_entropy_of
from ludus.kernels.support_logprob.support import Support


def support_logprob_reference(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    support: Support,
    temperature: float | Tensor = 1.0,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> LinearLogprob:
    """z = softcap(hidden weightᵀ + bias) / temperature, and -inf for every id outside the token's set; with
    p = softmax(z), for each token m:

        logprob = log p[targets[m]]        entropy = -Σ_v p_v log p_v        lse = log Σ_v exp z_v

    where softcap(x) = c tanh(x / c) (Gemma 2, arXiv 2408.00118). Shapes as for `support_logprob`; float32
    (float64 for float64), differentiable by autograd.
    """
    dtype = torch.promote_types(torch.promote_types(hidden.dtype, weight.dtype), torch.float32)
    # In float64, since the backward's products add over all rows, and over the whole vocabulary.
    logits = linear(hidden.double(), weight.double(), None if bias is None else bias.double()).to(dtype)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    z = logits / temperature_rows(temperature, len(hidden), hidden.device, dtype)[:, None]
    kept = torch.zeros_like(z, dtype=torch.bool)
    kept[support.rows, support.ids.long()] = True
    z = torch.where(kept, z, -torch.inf)
    logprobs, entropy = logprob_entropy_of(z, targets)
    empty = (z == -torch.inf).all(1)
    lse = torch.where(empty, -torch.inf, torch.where(empty[:, None], 0.0, z).logsumexp(1))
    return LinearLogprob(logprobs, entropy, lse)
