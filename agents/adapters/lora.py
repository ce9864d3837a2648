"""The term that an adapter adds to a linear layer.

An adapted layer keeps its class, its name and its weights, so whatever it is, it computes as before; the term
is a child of it, which a hook adds to its output. Nothing is ever merged into a model that computes.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from ludus.agents.models import ModelLoadError
from ludus.agents.quantization import whole_weight
from ludus.tools.wording import did_you_mean

ALL_LINEAR = "all-linear"
"""The name that stands for every linear layer but the output embedding."""
Start = Literal["default", "pissa"]
TERM = "lora"
"""The name of the child."""


class AdapterError(ModelLoadError):
    """An adapter does not fit its base, computes what is not supported here, or is none."""


class LowRank(nn.Module):
    """x ↦ scaling · B A x, in float32 whatever the layer's type; without what it was at the start, if that
    was not 0 (PiSSA).

    Args:
        a_RI: Of rank R and the layer's inputs I.
        b_OR: Of the layer's outputs O.
        start: The same at the start, subtracted and never trained; None: their product was 0.
    """

    start_a_RI: Tensor | None
    start_b_OR: Tensor | None

    def __init__(
        self, a_RI: Tensor, b_OR: Tensor, scaling: float, start: tuple[Tensor, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.a_RI, self.b_OR, self.scaling = nn.Parameter(a_RI), nn.Parameter(b_OR), scaling
        self.register_buffer("start_a_RI", None if start is None else start[0])
        self.register_buffer("start_b_OR", None if start is None else start[1])

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.a_RI.dtype)
        # Scaled where there are few numbers.
        term = linear(self.scaling * linear(x, self.a_RI), self.b_OR)
        if self.start_a_RI is not None and self.start_b_OR is not None:
            term = term - linear(self.scaling * linear(x, self.start_a_RI), self.start_b_OR)
        return term

    @property
    def start_rank(self) -> int:
        """Of what is subtracted."""
        return 0 if self.start_a_RI is None else len(self.start_a_RI)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """A and B of the whole term, what is subtracted included: as [R, I] and [O, R] of a higher rank."""
        a_RI, b_OR = self.a_RI.detach(), self.b_OR.detach()
        if self.start_a_RI is None or self.start_b_OR is None:
            return a_RI, b_OR
        return torch.cat([a_RI, self.start_a_RI]), torch.cat([b_OR, -self.start_b_OR], dim=1)

    def delta_OI(self) -> Tensor:
        """What the term adds to the layer's weight."""
        a_RI, b_OR = self.matrices()
        return self.scaling * (b_OR @ a_RI)


def add_adapter(
    model: PreTrainedModel,
    rank: int,
    scaling: float,
    targets: Sequence[str],
    start: Start = "default",
    seed: int = 0,
) -> None:
    """Freeze a model and add a term to its linear layers.

    Args:
        scaling: Alpha / rank or, for rsLoRA (arXiv:2312.03732), alpha / √rank.
        targets: Names of layers, whole or from a dot on (`q_proj`), or `all-linear`.
        start: `default`: A is random and B is 0, so the model computes what it did. `pissa`: A and B are the
            principal components of the layer's weight (as it is, where it is quantised), minus which the term
            counts (arXiv:2404.02948), so the model computes what it did, up to rounding.
        seed: Of A.

    Raises:
        AdapterError: no layer has such a name, or is large enough for PiSSA of this rank.
    """
    layers = targeted_layers(model, targets)
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    for name, layer in layers.items():
        if start == "pissa":
            term = _principal(name, layer, rank, scaling)
        else:
            device = layer.weight.device
            bound = layer.in_features**-0.5  # PEFT's: Kaiming's, for a leaky ReLU of slope √5
            a_RI = torch.empty(rank, layer.in_features).uniform_(-bound, bound, generator=generator)
            b_OR = torch.zeros(layer.out_features, rank, device=device)
            term = LowRank(a_RI.to(device), b_OR, scaling)
        attach(layer, term)


def targeted_layers(model: PreTrainedModel, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """The layers that targets name, by their whole names.

    Raises:
        AdapterError: one names none.
    """
    layers = linear_layers(model)
    for target in targets:
        if target != ALL_LINEAR and not any(is_called(name, target) for name in layers):
            names = sorted({name.rpartition(".")[2] for name in layers})
            hint = did_you_mean(target, names, otherwise=f"there is {', '.join(names)}")
            raise AdapterError(
                f'no linear layer of {model.config.name_or_path} is called "{target}" (the output embedding '
                f"is never adapted); {hint}"
            )
    if not layers:
        raise AdapterError(
            f"{type(model).__name__} has no nn.Linear but the output embedding, so there is nothing to "
            "adapt; train it whole, without [adapter]"
        )
    return {name: layer for name, layer in layers.items() if is_meant(name, targets)}


def adapter_terms(model: nn.Module) -> dict[str, LowRank]:
    """By the name of the layer; empty without an adapter."""
    return {
        name.removesuffix(f".{TERM}"): module
        for name, module in model.named_modules()
        if isinstance(module, LowRank)
    }


def attach(layer: nn.Module, term: LowRank) -> None:
    """Let a layer add a term to its output."""
    setattr(layer, TERM, term)
    layer.register_forward_hook(_add_term)


def linear_layers(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """All but the output embedding, whose weight the trainer reads without calling it."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }


def is_meant(name: str, targets: Iterable[str]) -> bool:
    """Whether one of the targets names the layer."""
    return any(target == ALL_LINEAR or is_called(name, target) for target in targets)


def is_called(name: str, target: str) -> bool:
    """Whether a name is the layer's, or the end of it from a dot on."""
    return name == target or name.endswith(f".{target}")


def _add_term(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    term: Tensor = getattr(layer, TERM)(inputs[0])
    return output + term.to(output.dtype)


def _principal(name: str, layer: nn.Linear, rank: int, scaling: float) -> LowRank:
    if rank > min(layer.in_features, layer.out_features):
        raise AdapterError(
            f"rank {rank} is more than {name} has, which is {layer.in_features} by {layer.out_features}: "
            "start by default, or with a lower rank"
        )
    u, sizes, vh = torch.linalg.svd(whole_weight(layer), full_matrices=False)
    roots = (sizes[:rank] / scaling).sqrt()
    # Laid out as when they are read back: how a matrix lies in memory decides how products are rounded.
    a_RI, b_OR = (roots[:, None] * vh[:rank]).contiguous(), (u[:, :rank] * roots).contiguous()
    return LowRank(a_RI.clone(), b_OR.clone(), scaling, (a_RI, b_OR))
