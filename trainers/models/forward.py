"""Log-probabilities of the scored tokens of a packed micro-batch, from a transformers causal LM.

Segments lie end to end in one row of length T. Attention is causal within a segment and never crosses
segments; each token has its position within its own segment, so models with absolute positions see the same
as without packing. Hidden states are taken only where a token is scored; `linear_logprob` applies the output
embedding to them.
"""

from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from ludus.agents.attention import computing_with
from ludus.kernels import linear_logprob
from ludus.tools.errors import UserError
from ludus.trainers.batches.packing import MicroBatch


class UnsupportedModel(UserError):
    """The model's log-probabilities cannot be computed from packed hidden states."""


ATTENTION = "ludus_packed"
"""The name under which `packed_attention` is registered with transformers."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Aligned with the micro-batch's scored tokens; float32."""

    logprobs: Tensor
    """[N], differentiable. Under the policy at the given temperature."""
    entropy: Tensor
    """[N], of the distribution that each token was drawn from; in nats. Detached, unless its gradient was
    asked for."""
    hidden: Tensor
    """[N, H], differentiable: what they were computed from, in the model's own precision."""


def score(
    model: PreTrainedModel, micro_batch: MicroBatch, temperature: float, entropy_gradient: bool = False
) -> Scored:
    """Scores a micro-batch with the model in evaluation mode (no dropout): the same weights, micro-batch and
    thread count give the same bits, with gradients or without. The model's mode and attention are restored
    afterwards.

    Raises UnsupportedModel as `hidden_states`.
    """
    hidden_NH, head = hidden_states(model, micro_batch), model.get_output_embeddings()
    targets_N = micro_batch.targets_N.to(head.weight.device)
    scored = linear_logprob(hidden_NH, head.weight, targets_N, temperature, head.bias)
    return Scored(scored.logprobs, scored.entropy if entropy_gradient else scored.entropy.detach(), hidden_NH)


def hidden_states(model: PreTrainedModel, micro_batch: MicroBatch) -> Tensor:
    """The hidden states that predict the scored tokens, [N, H]; as they are before the output embedding.

    Raises UnsupportedModel for a model whose logits are not just its output embedding applied to the
    decoder's last hidden state, or whose rows cannot be packed (state leaks from one segment into the next);
    this is checked at the first call on a model.
    """
    decoder, head = _decoder_and_head(model)
    micro_batch = micro_batch.to(head.weight.device)
    with computing_with(model, ATTENTION):
        if model not in _checked:
            _check(model, decoder, head)
            _checked.add(model)
        hidden_TH = _hidden_states(decoder, micro_batch.ids_T, micro_batch.positions_T, micro_batch.lengths)
    return hidden_TH[micro_batch.scored_N]


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segment_lengths: tuple[int, ...] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """An attention function for transformers: causal within each segment, never across segments.

    query [1, heads, T, D], key and value [1, key heads, T, D], T = sum(segment_lengths). Returns
    [1, T, heads, D].
    """
    if segment_lengths is None:
        raise UnsupportedModel(
            f"{type(module).__name__} does not pass keyword arguments on to its attention function, so its "
            "rows cannot be packed; choose a model that does"
        )
    if softcap is not None or s_aux is not None or position_bias is not None:
        raise UnsupportedModel(
            f"{type(module).__name__} caps its attention logits, has attention sinks or adds a position "
            "bias, which packed attention does not have; choose a model without them"
        )
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return _varlen_attention(query, key, value, segment_lengths, scaling, sliding_window), None
    segments = zip(
        query.split(segment_lengths, 2),
        key.split(segment_lengths, 2),
        value.split(segment_lengths, 2),
        strict=True,
    )
    outputs = [_segment_attention(q, k, v, scaling, sliding_window).transpose(1, 2) for q, k, v in segments]
    return torch.cat(outputs, dim=1), None


AttentionInterface.register(ATTENTION, packed_attention)


def _segment_attention(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    mask, length = None, query.shape[2]
    if window is not None and length > window:  # a token sees itself and the window - 1 before it
        place = torch.arange(length, device=query.device)
        behind = place[:, None] - place[None, :]
        mask = (behind >= 0) & (behind < window)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: tuple[int, ...],
    scaling: float | None,
    window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    bounds = torch.tensor([0, *lengths], device=query.device).cumsum(0, dtype=torch.int32)
    output = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        bounds,
        bounds,
        max(lengths),
        max(lengths),
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(output, Tensor)  # a tuple only if more was asked for
    return output[None]


def _decoder_and_head(model: PreTrainedModel) -> tuple[nn.Module, nn.Linear]:
    decoder, head = model.base_model, model.get_output_embeddings()
    if decoder is model or not isinstance(head, nn.Linear):
        raise UnsupportedModel(
            f"{type(model).__name__} is not a causal language model with a linear output embedding; "
            "load it with AutoModelForCausalLM"
        )
    return decoder, head


def _hidden_states(
    decoder: nn.Module, ids_T: Tensor, positions_T: Tensor, lengths: tuple[int, ...]
) -> Tensor:
    output = decoder(
        input_ids=ids_T[None], position_ids=positions_T[None], use_cache=False, segment_lengths=lengths
    )
    return output.last_hidden_state[0]


_checked: WeakSet[PreTrainedModel] = WeakSet()


@torch.no_grad()
def _check(model: PreTrainedModel, decoder: nn.Module, head: nn.Linear) -> None:
    """Runs two short rows packed, and one of them alone through the whole model, whose head is set so that
    any scale or cap would change its logits."""
    name = type(model).__name__
    device = head.weight.device
    ids = torch.arange(7, device=device) % head.out_features
    positions = torch.tensor([0, 1, 2, 0, 1, 2, 3], device=device)
    packed = _hidden_states(decoder, ids, positions, (3, 4))[3:]

    seen: list[Tensor] = []
    probe = torch.linspace(-100, 100, 4 * head.out_features, device=device, dtype=head.weight.dtype)
    probe = probe.view(1, 4, head.out_features)

    def stand_in(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> Tensor:
        seen.append(inputs[0][0])
        return probe

    handle = head.register_forward_hook(stand_in)
    try:
        logits = model(input_ids=ids[None, 3:], use_cache=False, segment_lengths=(4,)).logits
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
