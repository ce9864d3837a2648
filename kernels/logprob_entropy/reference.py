"""The formula, plain and in memory; takes the same arguments as the operator."""

import torch
from torch import Tensor

from ludus.kernels.arguments import accumulation_dtype, temperature_rows


def logprob_entropy_reference(
    logits: Tensor, targets: Tensor, temperature: float | Tensor = 1.0
) -> tuple[Tensor, Tensor]:
    """With z = logits / temperature and p = softmax(z), for each row m:

        logprob = log p[t] = -softplus(log Σ_{v≠t} exp z_v - z_t),   t = targets[m]
        entropy = -Σ_v p_v log p_v,   0 log 0 = 0

    logits [M, V], targets [M], temperature a number or [M]. Returns (logprobs [M], entropy [M]), float32
    (float64 for float64), differentiable by autograd. The first form is exact where p[t] is next to 1, since
    nothing is subtracted from a number that is almost equal.
    """
    z = logits.to(accumulation_dtype(logits))
    z = z / temperature_rows(temperature, len(z), z.device, z.dtype)[:, None]
    return logprob_entropy_of(z, targets)


def logprob_entropy_of(z: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The same from z [M, V] in the dtype it has. A row that is -inf throughout gives (-inf, 0)."""
    if z.shape[1] == 0:
        raise ValueError("the distributions are over no words at all")
    possible = z != -torch.inf
    empty = ~possible.any(1, keepdim=True)
    z = torch.where(empty, 0.0, z)  # any finite row, so that no gradient turns into NaN
    z = z - z.detach().amax(1, keepdim=True)  # so that a common shift costs no digits
    is_target = torch.zeros_like(z, dtype=torch.bool).scatter_(1, targets[:, None], True)
    target_z = z.gather(1, targets[:, None]).squeeze(1)
    others = torch.where(is_target | ~possible, -torch.inf, z)
    no_others = (others == -torch.inf).all(1)
    others_lse = torch.where(no_others[:, None], 0.0, others).logsumexp(1)
    gap = torch.where(no_others, -torch.inf, others_lse - target_z)
    logprobs = -_softplus(gap)
    logp = torch.where(is_target, logprobs[:, None], z - z.logsumexp(1, keepdim=True))
    logp = torch.where(possible & (logp != -torch.inf), logp, 0.0)
    p = torch.where(possible, logp.exp(), 0.0)
    entropy = -(p * logp).sum(1)
    masked = empty.squeeze(1)
    return torch.where(masked, -torch.inf, logprobs), torch.where(masked, 0.0, entropy)


def _softplus(x: Tensor) -> Tensor:
    """log(1 + exp x). torch's own switches to x above a threshold; logaddexp has a NaN gradient at inf."""
    return -torch.nn.functional.logsigmoid(-x)
