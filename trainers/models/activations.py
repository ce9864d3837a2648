"""What a forward pass keeps for its backward pass: the activations of every layer, or of some layers only
their input, from which they are computed again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ludus.agents.attention import computing_with
from ludus.trainers.models.attention import ATTENTION, UnsupportedModel

_every: WeakKeyDictionary[PreTrainedModel, int] = WeakKeyDictionary()


def recompute_activations(model: PreTrainedModel, every: int) -> None:
    """Compute one of every so many layers again in the backward pass; 0: none. The same bits come out, since
    nothing random is computed.

    Raises:
        UnsupportedModel: if the model does not say what its layers are.
    """
    if every and not _layers(model):
        raise UnsupportedModel(
            f"{type(model).__name__} does not say what its layers are, so their activations cannot be "
            "computed again: set model.recompute_every = 0"
        )
    _every[model] = every


@contextmanager
def recomputing(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the layers that are to be computed again keep their input alone."""
    every = _every.get(model, 0)
    chosen = _layers(model)[::every] if every and torch.is_grad_enabled() else []
    for layer in chosen:
        again = partial(_forward, model, layer.forward)
        layer.forward = partial(checkpoint, again, use_reentrant=False, preserve_rng_state=False)
    try:
        yield
    finally:
        for layer in chosen:
            del layer.forward  # that of the class again


def _forward(model: PreTrainedModel, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """A layer's forward, also in the backward pass, where the model has its own attention again."""
    with computing_with(model, ATTENTION):
        return forward(*inputs, **named)


def _layers(model: PreTrainedModel) -> list[Any]:
    return [module for module in model.base_model.modules() if isinstance(module, GradientCheckpointingLayer)]
