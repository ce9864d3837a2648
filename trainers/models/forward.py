"""Log-probabilities of the scored tokens of a packed micro-batch, from a transformers causal LM.

All rows lie in one of length T. Each token has its position within its own row, and attention lets it see
that row alone (`attention`), so models with absolute positions see the same as without packing. Hidden states
are taken only where a token is predicted; `linear_logprob` applies the output embedding to them.
"""

from dataclasses import dataclass
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ludus.agents.attention import computing_with
from ludus.kernels import linear_logprob
from ludus.trainers.batches.packing import MicroBatch
from ludus.trainers.batches.prefixes import Branch
from ludus.trainers.models.attention import ATTENTION, AttentionPlan, UnsupportedModel


@dataclass(frozen=True, slots=True)
class Scored:
    """Of a micro-batch's N scored tokens and P predictions; float32."""

    logprobs: Tensor
    """[N], differentiable. Under the policy at the given temperature."""
    entropy: Tensor
    """[N], of the distribution that each token was drawn from; in nats. Detached, unless its gradient was
    asked for."""
    hidden: Tensor
    """[P, H], differentiable: what they were computed from, in the model's own precision."""


def score(
    model: PreTrainedModel, micro_batch: MicroBatch, temperature: float, entropy_gradient: bool = False
) -> Scored:
    """Scores a micro-batch with the model in evaluation mode (no dropout): the same weights, micro-batch and
    thread count give the same bits, with gradients or without. The model's mode and attention are restored
    afterwards.

    Raises UnsupportedModel as `hidden_states`.
    """
    hidden_PH, head = hidden_states(model, micro_batch), model.get_output_embeddings()
    targets_P = micro_batch.targets_P.to(head.weight.device)
    scored = linear_logprob(hidden_PH, head.weight, targets_P, temperature, head.bias)
    logprobs_N, entropy_N = (
        of_P[micro_batch.prediction_N.to(of_P.device)] for of_P in (scored.logprobs, scored.entropy)
    )
    return Scored(logprobs_N, entropy_N if entropy_gradient else entropy_N.detach(), hidden_PH)


def hidden_states(model: PreTrainedModel, micro_batch: MicroBatch) -> Tensor:
    """The hidden states that predict, [P, H]; as they are before the output embedding.

    Raises UnsupportedModel for a model whose logits are not just its output embedding applied to the
    decoder's last hidden state, or whose rows cannot be packed (state leaks from one row into the next); this
    is checked at the first call on a model.
    """
    decoder, head = _decoder_and_head(model)
    micro_batch = micro_batch.to(head.weight.device)
    with computing_with(model, ATTENTION):
        if model not in _checked:
            _check(model, decoder, head)
            _checked.add(model)
        hidden_TH = _hidden_states(decoder, micro_batch.ids_T, micro_batch.positions_T, micro_batch.branches)
    return hidden_TH[micro_batch.places_P]


def _decoder_and_head(model: PreTrainedModel) -> tuple[nn.Module, nn.Linear]:
    decoder, head = model.base_model, model.get_output_embeddings()
    if decoder is model or not isinstance(head, nn.Linear):
        raise UnsupportedModel(
            f"{type(model).__name__} is not a causal language model with a linear output embedding; "
            "load it with AutoModelForCausalLM"
        )
    return decoder, head


def _hidden_states(
    decoder: nn.Module, ids_T: Tensor, positions_T: Tensor, branches: tuple[Branch, ...]
) -> Tensor:
    plan = AttentionPlan(branches, positions_T)
    output = decoder(
        input_ids=ids_T[None], position_ids=positions_T[None], use_cache=False, attention_plan=plan
    )
    return output.last_hidden_state[0]


_checked: WeakSet[PreTrainedModel] = WeakSet()


@torch.no_grad()
def _check(model: PreTrainedModel, decoder: nn.Module, head: nn.Linear) -> None:
    """Runs three short rows packed, two of which begin alike, and one of these alone through the whole model,
    whose head is set so that any scale or cap would change its logits."""
    name = type(model).__name__
    device = head.weight.device
    ids = torch.arange(9, device=device) % head.out_features
    positions = torch.tensor([0, 1, 2, 0, 1, 2, 3, 2, 3], device=device)
    rows = (Branch(0, 3), Branch(3, 4), Branch(7, 2, prefix=((3, 5),)))
    alone = torch.tensor([3, 4, 7, 8], device=device)
    packed = _hidden_states(decoder, ids, positions, rows)[alone]

    seen: list[Tensor] = []
    probe = torch.linspace(-100, 100, 4 * head.out_features, device=device, dtype=head.weight.dtype)
    probe = probe.view(1, 4, head.out_features)

    def stand_in(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> Tensor:
        seen.append(inputs[0][0])
        return probe

    handle = head.register_forward_hook(stand_in)
    try:
        plan = AttentionPlan((Branch(0, 4),), positions[3:7])
        logits = model(input_ids=ids[None, alone], use_cache=False, attention_plan=plan).logits
    finally:
        handle.remove()
    if not torch.equal(logits.to(probe.dtype), probe):
        raise UnsupportedModel(
            f"{name} scales or caps its logits after the output embedding, so log-probabilities computed "
            "from hidden states would be those of another model; choose one without logit scale or soft cap"
        )
    tolerance = 1e-3 if head.weight.dtype.itemsize >= 4 else 0.1
    if (packed - seen[0]).norm() > tolerance * seen[0].norm():
        raise UnsupportedModel(
            f"{name} gives a row other hidden states when another row is packed before it (state that "
            "crosses rows, no position_ids, or hidden states scaled before the output embedding); choose a "
            "decoder with attention only"
        )
