"""Checks and preparations shared by the operators on distributions over the vocabulary.

Shapes: M rows, one per token; V tokens of the vocabulary.
"""

import torch
from torch import Tensor


def check_targets(targets: Tensor, rows: int, vocabulary: int) -> None:
    """Raises ValueError unless targets is [M] of integers in [0, V). On a GPU the range is not looked at,
    which would stall it; a target out of range gives NaN there."""
    if targets.shape != (rows,):
        raise ValueError(f"targets must be [{rows}], one per row, not {list(targets.shape)}")
    if targets.is_floating_point() or targets.dtype == torch.bool:
        raise ValueError(f"targets must be integers, not {targets.dtype}")
    if (
        targets.device.type == "cpu"
        and rows
        and not 0 <= int(targets.min()) <= int(targets.max()) < vocabulary
    ):
        wrong = targets[(targets < 0) | (targets >= vocabulary)]
        raise ValueError(
            f"targets must be in [0, {vocabulary}), but one is {int(wrong[0])}; leave out rows that have no "
            "target (padding, prompt) before the call"
        )


def temperature_rows(
    temperature: float | Tensor, rows: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """The temperature of each row, [M], a view of stride 0 for a single number.

    Raises ValueError for a wrong shape and for a temperature that is not positive (tensors on a GPU are not
    looked at).
    """
    if isinstance(temperature, Tensor):
        if temperature.shape not in {(), (rows,)}:
            raise ValueError(
                f"temperature must be a number or [{rows}], one per row, not {list(temperature.shape)}"
            )
        if temperature.requires_grad:
            raise ValueError("temperature has no gradient here; pass temperature.detach()")
        if temperature.device.type == "cpu" and not bool((temperature > 0).all()):
            raise ValueError("every temperature must be positive; greedy decoding has no log-probabilities")
        return temperature.to(device, dtype).expand(rows)
    if not temperature > 0:
        raise ValueError(
            f"temperature must be positive, not {temperature}; greedy decoding has no log-probabilities"
        )
    return torch.full((), temperature, device=device, dtype=dtype).expand(rows)


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """float32 for 16- and 32-bit floats, float64 for float64.

    Raises ValueError for other dtypes.
    """
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise ValueError(
            f"{tensor.dtype} is not supported; cast to float32, float64, bfloat16 or float16 first"
        )
    return torch.promote_types(tensor.dtype, torch.float32)


def differentiable(*tensors: Tensor | None) -> bool:
    """Whether autograd has to know what is computed from them."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
