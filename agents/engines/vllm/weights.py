"""The trainer's weights in vLLM: where each of them lies there, shared with it or pushed to it.

vLLM keeps some matrices of a model as one (query, key and value; gate and up). Where its own loading copies a
weight to is where that weight lies, whatever the family: `Copies` watches.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ludus.agents.adapters.lora import LowRank
from ludus.agents.engines.base import EngineError

INSTEAD = 'take engine.kind = "embedded"'


class Copies(TorchDispatchMode):
    """Inside, it remembers where whole tensors are copied to, as they are.

    Args:
        sources: The tensors, by name.
    """

    def __init__(self, sources: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._sources = {(source.data_ptr(), source.shape): name for name, source in sources.items()}
        self._places: dict[str, Tensor] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.copy_.default:
            target, source = args[:2]
            name = self._sources.get((source.data_ptr(), source.shape))
            if name is not None and (target.shape, target.dtype) == (source.shape, source.dtype):
                self._places[name] = target
        return result

    def places(self) -> dict[str, Tensor]:
        """
        Raises:
            EngineError: one of the tensors was not copied, or not as it is.
        """
        for name in self._sources.values():
            if name not in self._places:
                raise EngineError(
                    f"vLLM keeps {name} in another form than the trainer, so it cannot follow what the "
                    f"trainer does to it: {INSTEAD}"
                )
        return {name: place.as_subclass(Tensor).detach() for name, place in self._places.items()}


def load(theirs: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load weights into a model of vLLM's.

    Returns:
        Where each of them lies there.

    Raises:
        EngineError: one of them is kept in another form.
    """
    with torch.no_grad(), (copies := Copies(weights)):
        theirs.load_weights(iter(weights.items()))
    return copies.places()


def refuse_moved(theirs: nn.Module, places: Mapping[str, Tensor]) -> None:
    """
    Raises:
        EngineError: vLLM computes with other memory than it was loaded into, or with a second form of it.
    """
    used = {parameter.untyped_storage().data_ptr() for parameter in theirs.parameters()}
    for name, place in places.items():
        if place.untyped_storage().data_ptr() not in used:
            raise EngineError(
                f"vLLM packed {name} into a form of its own once it was loaded, which no change of the "
                f"weights would reach: {INSTEAD}"
            )


def share(weights: Mapping[str, nn.Parameter], places: Mapping[str, Tensor]) -> None:
    """Let the trainer's weights lie where vLLM's do: there is one copy of them from now on."""
    for name, parameter in weights.items():
        parameter.data = places[name]


@torch.no_grad()
def push(weights: Mapping[str, Tensor], places: Mapping[str, Tensor]) -> None:
    """Copy the trainer's weights to where vLLM's lie, as its loading did."""
    for name, weight in weights.items():
        places[name].copy_(weight)


def base_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Those of a model that are no part of its adapter."""
    terms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, LowRank)
        for parameter in module.parameters()
    }
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) not in terms}
