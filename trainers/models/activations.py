"""What a forward pass keeps for its backward pass: the activations of every layer, or of some layers only
their input, from which they are computed again; on the GPU, or in the host's memory."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ludus.agents.attention import computing_with
from ludus.trainers.models.attention import UnsupportedModel

_PRODUCTS = [torch.ops.aten.mm.default, torch.ops.aten.addmm.default]
"""With weights: attention multiplies batches of matrices."""
_WORTH_BYTES = 1024
"""Smaller tensors are not worth a copy."""


@dataclass(frozen=True, slots=True)
class _Kept:
    every: int
    is_selective: bool
    is_offloaded: bool


_kept: WeakKeyDictionary[PreTrainedModel, _Kept] = WeakKeyDictionary()


def keep_activations(
    model: PreTrainedModel, every: int, selective: bool = False, offload: bool = False
) -> None:
    """Say what a model keeps from now on. The same gradients come out, to the bit, since nothing random is
    computed.

    Args:
        every: One of every so many layers is computed again in the backward pass; 0: none.
        selective: Of such a layer all but products with weights.
        offload: What is kept is copied to the host.

    Raises:
        UnsupportedModel: if the model does not say what its layers are.
    """
    if every and not _layers(model):
        raise UnsupportedModel(
            f"{type(model).__name__} does not say what its layers are, so their activations cannot be "
            "computed again: set model.recompute_every = 0"
        )
    _kept[model] = _Kept(every, selective, offload)


@contextmanager
def keeping(model: PreTrainedModel) -> Iterator[None]:
    """Inside, a forward pass of the model keeps what `keep_activations` said."""
    kept = _kept.get(model)
    if kept is None or not torch.is_grad_enabled():
        yield
        return
    chosen = _layers(model)[:: kept.every] if kept.every else []
    options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if kept.is_selective:
        options["context_fn"] = partial(create_selective_checkpoint_contexts, _PRODUCTS)
    attention: str = model.config._attn_implementation
    for layer in chosen:
        again = partial(_forward, model, attention, layer.forward)
        layer.forward = partial(checkpoint, again, **options)
    try:
        with ExitStack() as stack:
            if kept.is_offloaded:
                stack.enter_context(_Offloading(model))
            yield
    finally:
        for layer in chosen:
            del layer.forward  # that of the class again


class _Offloading(save_on_cpu):
    """Inside, what is kept is copied to pinned memory of the host, in the order of the GPU's stream and
    without waiting for it; weights, which are there anyway, are not."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(pin_memory=True)
        to_host, to_device = self.pack_hook, self.unpack_hook
        resident = {_memory(tensor) for tensor in (*model.parameters(), *model.buffers())}

        def pack(tensor: Tensor) -> Any:
            is_worth_it = tensor.nbytes >= _WORTH_BYTES and _memory(tensor) not in resident
            return to_host(tensor) if is_worth_it else tensor

        def unpack(kept: Any) -> Tensor:
            return kept if isinstance(kept, Tensor) else to_device(kept)

        self.pack_hook, self.unpack_hook = pack, unpack


def _memory(tensor: Tensor) -> int:
    """Where it is; views of it are there, too."""
    return tensor.untyped_storage().data_ptr()


def _forward(
    model: PreTrainedModel, attention: str, forward: Callable[..., Any], *inputs: Any, **named: Any
) -> Any:
    """A layer's forward, also in the backward pass, where the model has its own attention again."""
    with computing_with(model, attention):
        return forward(*inputs, **named)


def _layers(model: PreTrainedModel) -> list[Any]:
    return [module for module in model.base_model.modules() if isinstance(module, GradientCheckpointingLayer)]
