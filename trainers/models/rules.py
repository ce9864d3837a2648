"""The algorithms by which an optimizer steps, and on which parameters each of them does."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ludus.trainers.config.optimizer import Algorithm

Rule = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
"""Makes an optimizer of torch's kind from its groups of parameters."""


def rules_of(algorithm: Algorithm) -> tuple[Rule, Rule]:
    """An algorithm, and what steps on the parameters that are set `apart` from it.

    Raises:
        ModuleNotFoundError: bitsandbytes, whose algorithm it is, is not installed.
    """
    match algorithm:
        case "adamw":
            return torch.optim.AdamW, torch.optim.AdamW
        case "muon":
            # Updates as large as AdamW's, so that its rates fit (arXiv:2502.16982, section 2.2).
            return partial(torch.optim.Muon, adjust_lr_fn="match_rms_adamw"), torch.optim.AdamW
    from bitsandbytes import optim

    match algorithm:
        case "adamw_8bit":
            return optim.AdamW8bit, torch.optim.AdamW
        case "paged_adamw":
            return optim.PagedAdamW32bit, optim.PagedAdamW32bit
        case "paged_adamw_8bit":
            return optim.PagedAdamW8bit, optim.PagedAdamW32bit


def apart(model: nn.Module, algorithm: Algorithm) -> set[Tensor]:
    """The parameters that an algorithm does not suit: for Muon all but the matrices between the embeddings
    and the head (https://kellerjordan.github.io/posts/muon), for a state in 8 bits the embeddings, whose
    gradients differ in size from row to row (arXiv:2110.02861, section 2.3)."""
    if algorithm in ("adamw", "paged_adamw"):
        return set()
    embeddings: set[Tensor] = {
        module.weight for module in model.modules() if isinstance(module, nn.Embedding)
    }
    if algorithm != "muon":
        return embeddings
    models = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    heads = {head.weight for each in models if (head := each.get_output_embeddings()) is not None}
    others: set[Tensor] = {parameter for parameter in model.parameters() if not _is_matrix(parameter)}
    return embeddings | heads | others


def state_of(rule: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """What an algorithm remembers of a parameter; counts become tensors."""
    return {name: torch.as_tensor(value) for name, value in rule.state.get(parameter, {}).items()}


def put_state(
    rule: torch.optim.Optimizer, place: tuple[int, int], parameter: nn.Parameter, slots: Mapping[str, Tensor]
) -> None:
    """The inverse of `state_of`, in memory of its own.

    Args:
        place: Of the parameter: its group, and where it is there.
    """
    rule.state.pop(parameter, None)
    if not slots:
        return
    if getattr(rule, "is_paged", False):
        group: Any = rule.param_groups[place[0]]
        rule.init_state(group, parameter, *place)  # type: ignore[attr-defined]  # in memory that is paged
        for name, tensor in slots.items():
            if isinstance(there := rule.state[parameter][name], Tensor):
                there.copy_(tensor)
            else:
                rule.state[parameter][name] = tensor.item()
        return
    rule.state[parameter] = {name: _slot(tensor, parameter.device) for name, tensor in slots.items()}


def _slot(tensor: Tensor, device: torch.device) -> Any:
    if tensor.ndim:
        return tensor.to(device, copy=True)
    # torch counts in floats, on the CPU; bitsandbytes in Python.
    return tensor.clone() if tensor.is_floating_point() else tensor.item()


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and min(parameter.shape) > 1
