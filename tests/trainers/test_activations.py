"""Layers that are computed again in the backward pass, or whose activations wait on the host: less is kept,
the same bits come out."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from ludus.trainers.batches.packing import pack
from ludus.trainers.models.activations import _Offloading, keep_activations
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


class Counting(TorchDispatchMode):
    """Inside, counts the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[Any] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators[function] += 1
        return function(*args, **(kwargs or {}))


def update(model: PreTrainedModel, every: int, **options: bool) -> tuple[list[torch.Tensor], int]:
    """Gradients, and how many bytes were kept for them."""
    keep_activations(model, every, **options)
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
    moved, left = zip(*(update(model, every, offload=True) for every in (0, 1)), strict=True)
    for one, *others in zip(whole, some, none, *moved, strict=True):
        assert all(torch.equal(one, other) for other in others)
    assert fewest < fewer < kept
    assert left[0] == left[1] < fewest  # what is kept for the loss alone


@pytest.mark.parametrize("family", FAMILIES)
def test_products_may_be_kept_of_a_layer_that_is_computed_again(family: str) -> None:
    model = build(family)
    (whole, _), (selective, _) = update(model, 0), update(model, 1, selective=True)
    assert all(map(torch.equal, whole, selective))


def test_which_operators_are_computed_again() -> None:
    """Of the operators in a layer's forward, all run again but products with weights, whose last one nobody
    needs again in either case."""
    model, (part, *_) = build("llama"), pack(make_forest(), 1000)
    score(model, part, 1.0)  # the first call on a model tries it
    counts = []
    for selective in (False, True):
        keep_activations(model, 1, selective)
        scored = score(model, part, 1.0).logprobs.sum()
        with Counting() as again:
            scored.backward()
        counts.append(again.operators)
    full, selective = counts
    silu, product, batched = (
        torch.ops.aten.silu.default,
        torch.ops.aten.mm.default,
        torch.ops.aten.bmm.default,
    )
    assert full[silu] == selective[silu] == len(model.model.layers)
    assert full[batched] == selective[batched]
    assert full[product] - selective[product] == 6 * len(model.model.layers)
    model.zero_grad()


def test_weights_are_not_offloaded_and_all_else_comes_back() -> None:
    model = build("llama")
    hooks, weight = _Offloading(model), model.model.layers[0].mlp.up_proj.weight
    for resident in (weight, weight.T, weight[:, 1:], torch.ones(3)):
        assert hooks.pack_hook(resident) is resident
    for activation in (torch.randn(60, 16), torch.randn(60, 32)[:, ::2], torch.randn(60, 16).bfloat16()):
        packed = hooks.pack_hook(activation)
        assert not isinstance(packed, torch.Tensor)
        assert torch.equal(hooks.unpack_hook(packed), activation)


def test_without_gradients_nothing_is_computed_twice() -> None:
    model, (part, *_) = build("llama"), pack(make_forest(), 90)
    keep_activations(model, 1)
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
    keep_activations(model, 0)
    with pytest.raises(UnsupportedModel, match=r"set model\.recompute_every = 0"):
        keep_activations(model, 1)
