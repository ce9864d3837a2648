"""What `grpo_loss` is asked for, checked once and shared by its paths.

Shapes: S sequences; N tokens, those of a sequence side by side.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ludus.kernels.grpo_loss.kl import Estimator

Ratio = Literal["token", "sequence"]
Objective = Literal["clip", "cispo"]
Aggregation = Literal["token_mean", "sequence_mean", "constant", "sum"]

METRICS = ("tokens", "ratio_sum", "ratio_max_deviation", "clip_low", "clip_high", "kl_sum")
"""What the metrics tensor holds, in order; `grpo_loss` says what each one is."""


@dataclass(frozen=True)
class Settings:
    """The formula: see `grpo_loss`."""

    ratio: Ratio
    objective: Objective
    lower: float
    """1 - clip_low."""
    upper: float
    """1 + clip_high."""
    kl_estimator: Estimator
    kl_coefficient: float
    aggregation: Aggregation
    longest: int | None

    @property
    def by_sequence(self) -> bool:
        """Whether a token's term needs a sum over its sequence."""
        return self.ratio == "sequence" or self.aggregation == "sequence_mean"

    def scale(self, sequences: int) -> float:
        """What the sum over tokens is multiplied by, where that is known beforehand."""
        match self.aggregation:
            case "sequence_mean":
                return 1.0 / max(sequences, 1)
            case "constant":
                assert self.longest is not None  # `settings` has seen to it
                return 1.0 / (max(sequences, 1) * self.longest)
            case _:
                return 1.0


@dataclass(frozen=True)
class Batch:
    """Detached and contiguous, in the dtypes they came in."""

    logprobs_N: Tensor
    old_logprobs_N: Tensor
    advantages: Tensor
    """[N] or [S]; see `per_token`."""
    mask_N: Tensor
    """bool or float."""
    reference_logprobs_N: Tensor | None
    """None where it has no weight."""
    offsets: Tensor | None
    """[S + 1] integers, where each sequence begins and the last one ends; None where all are `width` long."""
    sequences: int
    width: int
    per_token: bool


def settings(
    ratio: Ratio,
    objective: Objective,
    clip_low: float,
    clip_high: float,
    kl_estimator: Estimator,
    kl_coefficient: float,
    aggregation: Aggregation,
    longest: int | None,
) -> Settings:
    """Raises ValueError for what is not a choice, and for choices that do not go together."""
    for name, value, choices in (
        ("ratio", ratio, Ratio),
        ("objective", objective, Objective),
        ("kl_estimator", kl_estimator, Estimator),
        ("aggregation", aggregation, Aggregation),
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
    if aggregation == "constant" and not (longest is not None and longest > 0):
        raise ValueError(
            f'aggregation="constant" divides by longest, the longest answer allowed: 1 or more, not {longest}'
        )
    if aggregation != "constant" and longest is not None:
        raise ValueError(
            f'longest is the divisor of aggregation="constant"; with {aggregation!r} leave it out'
        )
    return Settings(
        ratio,
        objective,
        1.0 - clip_low,
        1.0 + clip_high,
        kl_estimator,
        float(kl_coefficient),
        aggregation,
        longest,
    )


def batch(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    offsets: Tensor | None,
    reference_logprobs: Tensor | None,
    kl_coefficient: float,
) -> Batch:
    """Raises ValueError where shapes do not fit together. The values of masks and offsets are looked at on
    a CPU only: on a GPU that would stall it."""
    if logprobs.dim() not in (1, 2):
        raise ValueError(f"logprobs must be [S, T], or packed [N], not {list(logprobs.shape)}")
    if offsets is None:
        sequences, width = logprobs.shape if logprobs.dim() == 2 else (1, len(logprobs))
    else:
        sequences, width = _check_offsets(offsets, logprobs), 0
    if kl_coefficient and reference_logprobs is None:
        raise ValueError(
            f"kl_coefficient = {kl_coefficient}, but there are no reference_logprobs to diverge from"
        )
    for name, tensor in (
        ("old_logprobs", old_logprobs),
        ("mask", mask),
        ("reference_logprobs", reference_logprobs),
    ):
        if tensor is not None and tensor.shape != logprobs.shape:
            raise ValueError(
                f"{name} must be {list(logprobs.shape)} as logprobs are, not {list(tensor.shape)}"
            )
    per_token = advantages.shape == logprobs.shape
    if not per_token and advantages.shape != (sequences,):
        raise ValueError(
            f"advantages must be {list(logprobs.shape)}, one per token, or [{sequences}], one per sequence, "
            f"not {list(advantages.shape)}"
        )
    for name, tensor in (
        ("old_logprobs", old_logprobs),
        ("advantages", advantages),
        ("mask", mask),
        ("reference_logprobs", reference_logprobs),
    ):
        if tensor is not None and tensor.device != logprobs.device:
            raise ValueError(
                f"{name} are on {tensor.device}, but logprobs on {logprobs.device}; move them there"
            )
        if tensor is not None and tensor.requires_grad:
            raise ValueError(f"{name} have no gradient here; pass {name}.detach()")
    if mask.device.type == "cpu" and mask.is_floating_point() and not bool((mask >= 0).all()):
        raise ValueError("a weight in mask is negative or nan; it must be 0 (left out) or more")
    used = reference_logprobs if kl_coefficient else None
    return Batch(
        logprobs.detach().reshape(-1),
        old_logprobs.reshape(-1),
        advantages.reshape(-1),
        mask.reshape(-1),
        None if used is None else used.reshape(-1),
        offsets,
        sequences,
        width,
        per_token,
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
