"""The problem for `grpo_loss`, checked once and shared by its paths.

Shapes: S sequences; N tokens, those of a sequence contiguous.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ludus.kernels.grpo_loss.kl import Estimator

Ratio = Literal["token", "sequence"]
Objective = Literal["clip", "cispo"]

METRICS = ("tokens", "ratio_sum", "ratio_max_deviation", "clip_low", "clip_high", "clip_dual", "kl_sum")
"""The entries of the metrics tensor, in order; `grpo_loss` defines them."""


@dataclass(frozen=True)
class Settings:
    """The formula: see `grpo_loss`."""

    ratio: Ratio
    objective: Objective
    lower: float
    """1 - clip_low."""
    upper: float
    """1 + clip_high."""
    dual: float
    """dual_clip; infinite where there is none."""
    kl_estimator: Estimator
    kl_coefficient: float


@dataclass(frozen=True)
class Batch:
    """Detached and contiguous, in the dtypes they came in."""

    logprobs_N: Tensor
    old_logprobs_N: Tensor
    advantages_N: Tensor
    weights_N: Tensor
    """bool or float."""
    reference_logprobs_N: Tensor | None
    """None where the KL term has no weight."""
    offsets: Tensor | None
    """[S + 1] integers, where each sequence begins and the last one ends; None where all have `length`."""
    sequences: int
    length: int


def settings(
    ratio: Ratio,
    objective: Objective,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None,
    kl_estimator: Estimator,
    kl_coefficient: float,
) -> Settings:
    """Raises ValueError for an unknown choice or a number out of range."""
    for name, value, choices in (
        ("ratio", ratio, Ratio),
        ("objective", objective, Objective),
        ("kl_estimator", kl_estimator, Estimator),
    ):
        if value not in get_args(choices):
            raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, not {value!r}")
    for name, number in (
        ("clip_low", clip_low),
        ("clip_high", clip_high),
        ("kl_coefficient", kl_coefficient),
    ):
        if not number >= 0:
            raise ValueError(f"{name} must be 0 or more, not {number}")
    if dual_clip is not None and not dual_clip > 1:
        raise ValueError(
            f"dual_clip must be above 1, not {dual_clip}: below, it would stop the gradient of a ratio of 1"
        )
    if dual_clip is not None and objective == "cispo":
        raise ValueError('dual_clip bounds the objective "clip"; with "cispo" no token loses its gradient')
    return Settings(
        ratio,
        objective,
        1.0 - clip_low,
        1.0 + clip_high,
        math.inf if dual_clip is None else float(dual_clip),
        kl_estimator,
        float(kl_coefficient),
    )


def batch(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    offsets: Tensor | None,
    reference_logprobs: Tensor | None,
    kl_coefficient: float,
) -> Batch:
    """Raises ValueError where shapes do not fit together. The values of weights and offsets are checked on a
    CPU only: on a GPU that would stall it."""
    if logprobs.dim() not in (1, 2):
        raise ValueError(f"logprobs must be [S, T], or packed [N], not {list(logprobs.shape)}")
    if offsets is None:
        sequences, length = logprobs.shape if logprobs.dim() == 2 else (1, len(logprobs))
    else:
        sequences, length = _check_offsets(offsets, logprobs), 0
    if kl_coefficient and reference_logprobs is None:
        raise ValueError(
            f"kl_coefficient = {kl_coefficient}, but there are no reference_logprobs to diverge from"
        )
    for name, tensor in (
        ("old_logprobs", old_logprobs),
        ("advantages", advantages),
        ("weights", weights),
        ("reference_logprobs", reference_logprobs),
    ):
        if tensor is None:
            continue
        if tensor.shape != logprobs.shape:
            raise ValueError(
                f"{name} must be {list(logprobs.shape)}, one per token as logprobs are, not "
                f"{list(tensor.shape)}"
            )
        if tensor.device != logprobs.device:
            raise ValueError(
                f"{name} are on {tensor.device}, but logprobs on {logprobs.device}; move them there"
            )
        if tensor.requires_grad:
            raise ValueError(f"{name} have no gradient here; pass {name}.detach()")
    if weights.device.type == "cpu" and weights.is_floating_point() and not bool((weights >= 0).all()):
        raise ValueError("a weight is negative or nan; it must be 0 (left out) or more")
    used = reference_logprobs if kl_coefficient else None
    return Batch(
        logprobs.detach().reshape(-1),
        old_logprobs.reshape(-1),
        advantages.reshape(-1),
        weights.reshape(-1),
        None if used is None else used.reshape(-1),
        offsets,
        sequences,
        length,
    )


def _check_offsets(offsets: Tensor, logprobs: Tensor) -> int:
    """The number of sequences."""
    if logprobs.dim() != 1:
        raise ValueError(f"offsets belong to packed logprobs [N], not to {list(logprobs.shape)}")
    if offsets.dim() != 1 or len(offsets) == 0 or offsets.is_floating_point() or offsets.dtype == torch.bool:
        raise ValueError(
            f"offsets must be [S + 1] integers, not {list(offsets.shape)} of {offsets.dtype}: where each "
            "sequence begins, and where the last one ends"
        )
    if offsets.device != logprobs.device:
        raise ValueError(
            f"offsets are on {offsets.device}, but logprobs on {logprobs.device}; move them there"
        )
    if offsets.device.type == "cpu":
        values = offsets.long()
        if values[0] != 0 or values[-1] != len(logprobs) or bool((values.diff() < 0).any()):
            raise ValueError(
                f"offsets must rise from 0 to {len(logprobs)}, the number of tokens, but they are {offsets}"
            )
    return len(offsets) - 1
