"""A model's output embedding, and what the model does to its logits: a scale, a soft cap, or both."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ludus.agents.attention import computing_with
from ludus.agents.families import FIX, OncePerModel, are_same
from ludus.trainers.models.attention import UnsupportedModel

_CLOSE = 1e-5
"""Relative; logits may be cast to float32 on their way."""


@dataclass(frozen=True, slots=True)
class OutputHead:
    """Logits are c tanh(s x / c) of x, the output embedding of a hidden state."""

    linear: nn.Linear
    scale: float
    """s; Cohere, Granite, MiniCPM (of the hidden state)."""
    softcap: float | None
    """c; None: logits are s x. Gemma 2 (arXiv 2408.00118), NanoChat."""

    def __call__(self, hidden_MH: Tensor) -> Tensor:
        """Logits, [M, V]."""
        return self.of_products(self.linear(hidden_MH))

    def of_products(self, x: Tensor) -> Tensor:
        x = self.scale * x
        return x if self.softcap is None else self.softcap * torch.tanh(x / self.softcap)


def output_head(model: PreTrainedModel) -> OutputHead:
    """
    Raises UnsupportedModel for a model without a linear output embedding, or one that does something else to
    its logits.
    """
    return OutputHead(linear_head(model), *scale_and_softcap(model))


def decoder(model: PreTrainedModel) -> nn.Module:
    """What computes the hidden states; the model itself if it has none."""
    base: nn.Module = model.base_model
    return base if base is not model else getattr(model, "model", model)


def linear_head(model: PreTrainedModel) -> nn.Linear:
    """Raises UnsupportedModel for a model without a linear output embedding."""
    linear = model.get_output_embeddings()
    if decoder(model) is model or not isinstance(linear, nn.Linear):
        raise UnsupportedModel(
            f"{type(model).__name__} is not a causal language model with a linear output embedding; "
            "load it with AutoModelForCausalLM"
        )
    return linear


@OncePerModel
@torch.no_grad()
def scale_and_softcap(model: PreTrainedModel) -> tuple[float, float | None]:
    """Read off what comes out when the output embedding is replaced by known numbers: configurations name
    scales in several ways, and the same name multiplies here and divides there."""
    linear = linear_head(model)
    size = linear.out_features
    x = torch.linspace(-100, 100, size, dtype=torch.float64, device=linear.weight.device)
    x[:2] = torch.tensor([1.0, 1e9])

    given: list[Tensor] = []

    def stand_in(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        given.append(inputs[0])
        return x.expand_as(output)

    handle = linear.register_forward_hook(stand_in)
    try:
        with computing_with(model, "eager"):
            ids = torch.ones(1, 1, dtype=torch.int64, device=model.device)
            y = model(input_ids=ids, use_cache=False).logits[0, 0].double()
            hidden = decoder(model)(input_ids=ids, use_cache=False).last_hidden_state
    finally:
        handle.remove()
    factor = _factor(model, given[0], hidden) if given else 0.0
    if not factor or (linear.bias is not None and factor != 1):
        raise UnsupportedModel(
            f"{type(model).__name__} changes its hidden states before the output embedding, so that "
            f"log-probabilities computed from them would be those of another model; {FIX}"
        )
    at_1, most = y[:2].tolist()
    if abs(most) > 1e6:  # not capped
        scale, softcap = at_1, None
    else:
        softcap = most
        scale = softcap * torch.atanh(y[0] / softcap).item()
    head = OutputHead(linear, scale, softcap)  # without what came before the output embedding
    if not (scale > 0 and torch.allclose(head.of_products(x), y, rtol=_CLOSE, atol=_CLOSE)):
        raise UnsupportedModel(
            f"{type(model).__name__} does more to its logits than to scale and to cap them, so that "
            f"log-probabilities computed from hidden states would be those of another model; {FIX}"
        )
    return scale * factor, softcap


def _factor(model: PreTrainedModel, given: Tensor, hidden: Tensor) -> float:
    """By what the model multiplies its hidden states before the output embedding; 0: it does more."""
    given, hidden = given.flatten().double(), hidden.flatten().double()
    if are_same(model, given, hidden):
        return 1.0
    factor = (given @ hidden / (hidden @ hidden)).item()
    return factor if are_same(model, given, factor * hidden) else 0.0
