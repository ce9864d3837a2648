"""Layers that are computed again in the backward pass: less is kept, the same bits come out."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from transformers import PreTrainedModel

from ludus.trainers.batches.packing import pack
from ludus.trainers.models.activations import recompute_activations
from ludus.trainers.models.attention import UnsupportedModel
from ludus.trainers.models.forward import score

from .test_forward import FAMILIES, build, make_forest


@contextmanager
def counting(kept: list[int]) -> Iterator[None]:
    """Appends the bytes of each tensor that is kept for the backward pass, weights not counted twice."""

    def pack_tensor(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel() * tensor.itemsize)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack_tensor, lambda tensor: tensor):
        yield


def update(model: PreTrainedModel, every: int) -> tuple[list[torch.Tensor], int]:
    """Gradients, and how many bytes were kept for them."""
    recompute_activations(model, every)
    kept: list[int] = []
    for part in pack(make_forest(), 90):
        with counting(kept):
            scored = score(model, part, 0.7)
        (scored.logprobs.sum() + scored.entropy.sum()).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    return gradients, sum(kept)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_the_same_to_the_bit(family: str) -> None:
    """In training mode, with a dropout that a forward pass must not have."""
    model = build(family)
    (whole, kept), (some, fewer), (none, fewest) = (update(model, every) for every in (0, 2, 1))
    for one, *others in zip(whole, some, none, strict=True):
        assert all(torch.equal(one, other) for other in others)
    assert fewest < fewer < kept


def test_without_gradients_nothing_is_computed_twice() -> None:
    model, (part, *_) = build("llama"), pack(make_forest(), 90)
    recompute_activations(model, 1)
    score(model, part, 1.0)  # the first call on a model tries it
    calls: list[object] = []
    for layer in model.model.layers:
        layer.mlp.register_forward_pre_hook(lambda *_: calls.append(0))
    with torch.no_grad():
        score(model, part, 1.0)
    assert len(calls) == len(model.model.layers)
    calls.clear()
    score(model, part, 1.0).logprobs.sum().backward()
    assert len(calls) == 2 * len(model.model.layers)
    assert all("forward" not in vars(layer) for layer in model.model.layers)


def test_a_model_that_names_no_layers_is_refused() -> None:
    model = build("llama")
    model.model.layers = torch.nn.ModuleList()
    recompute_activations(model, 0)
    with pytest.raises(UnsupportedModel, match=r"set model\.recompute_every = 0"):
        recompute_activations(model, 1)
