"""The divergence of a policy from a teacher, over the ids that the teacher holds likeliest.

With p the teacher and q the policy, β chooses (GKD, arXiv:2306.13649, eq. 1 and section 3):

    β = 1       KL(q || p) = Σ q log q/p                            the reverse: seek what the teacher does
    β = 0       KL(p || q) = Σ p log p/q                            the forward: cover what it could do
    between     β KL(p || m) + (1 - β) KL(q || m),  m = β p + (1 - β) q

The sums are over categories: the K likeliest ids, and all others as one. That makes two distributions out
of two distributions, so it is a divergence whatever K is, at most the one over the whole vocabulary, and
equal to it if K is all of it. For each of them ∂/∂q_c = f_c up to a constant, which Σ ∇q_c = 0 makes idle:

    β = 1   log q/p          β = 0   1 - p/q          between   (1 - β) log q/m

so the gradient is Σ_c q_c f_c ∇log q_c. Written so, it is exactly 0 where the policy is its teacher.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from ludus.kernels.arguments import accumulation_dtype
from ludus.kernels.grpo_loss.kl import LOWEST_LOGPROB, log_ratio
from ludus.trainers.batches.packing import MicroBatch
from ludus.trainers.models.head import output_head
from ludus.trainers.teachers.lesson import Likeliest

CHUNK = 2**24
"""The most logits that are there at once."""


def divergence_loss(
    likeliest: Likeliest,
    weights_S: Tensor,
    micro: MicroBatch,
    model: PreTrainedModel,
    hidden_PH: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """What a micro-batch adds to its minibatch's loss: Σ_n weight_n divergence_n.

    Args:
        hidden_PH: Of the policy that is trained, where it predicts the micro-batch's tokens; differentiable.

    Returns:
        The loss, [], and the divergences, [N], detached.
    """
    hidden_NH = hidden_PH[micro.prediction_N.to(hidden_PH.device)]
    ids_NK = likeliest.ids_SK[micro.token_N].to(hidden_NH.device)
    teacher_NC = likeliest.logprobs_SC[micro.token_N].to(hidden_NH.device)
    head = _Head(model, likeliest.words, temperature)

    def of(part: slice) -> Tensor:
        # Logits are computed again in the backward pass: only hidden states are kept.
        mine: Tensor = checkpoint(
            _divergences,
            head,
            hidden_NH[part],
            ids_NK[part],
            teacher_NC[part],
            likeliest.beta,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        return mine

    divergences_N = torch.cat([of(part) for part in head.chunks(len(hidden_NH))])
    loss = (weights_S[micro.token_N].to(hidden_NH.device) * divergences_N).sum()
    return loss, divergences_N.detach()


@torch.no_grad()
def likeliest_ids(
    model: PreTrainedModel, hidden_NH: Tensor, count: int, words: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """The `count` likeliest of the first `words` ids, [N, K] int32, and the log-probabilities of these
    categories, [N, C]; see `Likeliest`."""
    head, ids, logprobs = _Head(model, words, temperature), [], []
    for part in head.chunks(len(hidden_NH)):
        logprobs_MV = head.logprobs(hidden_NH[part])
        ids.append(logprobs_MV.topk(min(count, words)).indices.int())
        logprobs.append(categories(logprobs_MV, ids[-1]))
    return torch.cat(ids), torch.cat(logprobs)


def categories(logprobs_MV: Tensor, ids_MK: Tensor) -> Tensor:
    """The log-probabilities of some ids and, unless they are all, of all others together, [M, C]."""
    ids_MK = ids_MK.long()
    chosen_MK = logprobs_MV.gather(1, ids_MK)
    if ids_MK.shape[1] == logprobs_MV.shape[1]:
        return chosen_MK
    others_M = logprobs_MV.scatter(1, ids_MK, -torch.inf).logsumexp(1)
    return torch.cat([chosen_MK, others_M[:, None]], 1)


def divergence(policy_MC: Tensor, teacher_MC: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The divergence at each position, and q_c f_c: by what the gradient weighs ∇log q_c.

    Args:
        policy_MC: log q of every category; nothing is differentiated here.
        teacher_MC: log p.

    Returns:
        [M], in nats, and [M, C].
    """
    r = log_ratio(teacher_MC, policy_MC)
    p, q = teacher_MC.exp(), policy_MC.exp()
    if beta == 1:
        return -(q * r).sum(1), -q * r
    if beta == 0:
        return (p * r).sum(1), q - p
    # log m/q, from the side on which its exponential is at most 1; exactly 0 at r = 0.
    above = torch.where(
        r > 0,
        r.clamp(min=0) + torch.log1p((1 - beta) * torch.expm1(-r.clamp(min=0))),
        torch.log1p(beta * torch.expm1(r.clamp(max=0))),
    )
    return (beta * p * (r - above) - (1 - beta) * q * above).sum(1), -(1 - beta) * q * above


def _divergences(head: "_Head", hidden_MH: Tensor, ids_MK: Tensor, teacher_MC: Tensor, beta: float) -> Tensor:
    """[M]; differentiable in the hidden states and the head."""
    policy_MC = categories(head.logprobs(hidden_MH), ids_MK)
    values_M, weights_MC = divergence(policy_MC.detach(), teacher_MC.to(policy_MC.dtype), beta)
    term_M = (weights_MC * policy_MC.clamp(min=LOWEST_LOGPROB)).sum(1)
    return values_M + (term_M - term_M.detach())


class _Head:
    """A model's log-probabilities over the first `words` ids, some rows at a time."""

    def __init__(self, model: PreTrainedModel, words: int, temperature: float) -> None:
        self._head, self._words, self._temperature = output_head(model), words, temperature

    def chunks(self, rows: int) -> list[slice]:
        step = max(1, CHUNK // self._words)
        return [slice(start, start + step) for start in range(0, max(rows, 1), step)]

    def logprobs(self, hidden_MH: Tensor) -> Tensor:
        """[M, V], float32 or better."""
        layer: nn.Linear = self._head.linear
        dtype: Any = accumulation_dtype(hidden_MH)
        bias = None if layer.bias is None else layer.bias[: self._words].to(dtype)
        products = linear(hidden_MH.to(dtype), layer.weight[: self._words].to(dtype), bias)
        return (self._head.of_products(products) / self._temperature).log_softmax(1)
