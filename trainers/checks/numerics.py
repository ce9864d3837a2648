"""Readings of the numbers that an update is made of."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median

import torch
from torch import Tensor, nn

from ludus.trainers.batches.groups import Group
from ludus.trainers.batches.minibatch import Minibatch
from ludus.trainers.checks.trust import Reading, Readings
from ludus.trainers.losses.policy import PolicyMetrics

History = Sequence[Mapping[str, float | str]]

LEAST_TOKENS = 32
"""Fewer tokens are too few for a mean of their own."""

SPIKE_STEPS = (8, 32)
"""From how many steps on there is a usual norm of the gradient, and how many of the last it is taken from."""

VALUE_STEPS = (64, 32)
"""The same for a value model's explained variance."""


def score_readings(
    metrics: Mapping[str, float], parts: Sequence[Sequence[Group]], minibatches: Sequence[Minibatch]
) -> Readings:
    """How engine and trainer agree about a batch, before its first update.

    Args:
        metrics: Of `minibatch_metrics`; empty if no token was sampled.
        parts: The groups of each minibatch.
    """
    names = ("mismatch_mean", "mismatch_max", "entropy")
    readings = {name: Reading(metrics[name]) for name in names if name in metrics}
    if "correction_bounded" in metrics:
        readings["mask_share"] = Reading(metrics["correction_bounded"])
    if "mismatch_bias" in metrics:
        readings["mismatch_bias"] = Reading(abs(metrics["mismatch_bias"]))
    if slices := mismatch_slices(parts, minibatches):
        where, worst = max(slices.items(), key=lambda item: (item[1] != item[1], item[1]))
        readings["mismatch_slice"] = Reading(worst, where)
    return readings


def mismatch_slices(parts: Sequence[Sequence[Group]], minibatches: Sequence[Minibatch]) -> dict[str, float]:
    """The mean |mismatch| of tokens at like positions of their completions, of like turns, and of each
    version of the weights: `position 8-15` → nats. Counted from 0, in ranges whose length doubles; those with
    fewer than `LEAST_TOKENS` tokens are left out."""
    mismatch_A = torch.cat([minibatch.mismatch_A for minibatch in minibatches]).abs().double()
    places_A = torch.cat([minibatch.places_A3 for minibatch in minibatches])
    pairs = zip(parts, minibatches, strict=True)
    versions_A = torch.cat([_versions(groups)[minibatch.places_A3[:, 0]] for groups, minibatch in pairs])
    slices: dict[str, float] = {}
    for name, values_A in (("turn", places_A[:, 1]), ("position", places_A[:, 2])):
        octaves_A = (values_A + 1).double().log2().floor().long()  # exact for powers of two
        for octave, mean in _means(octaves_A, mismatch_A):
            first, last = 2**octave - 1, 2 ** (octave + 1) - 2
            slices[f"{name} {first}" if first == last else f"{name} {first}-{last}"] = mean
    oldest = int(versions_A.min()) if len(versions_A) else 0
    for version, mean in _means(versions_A - oldest, mismatch_A):
        slices[f"weights version {version + oldest}"] = mean
    return slices


def _versions(groups: Sequence[Group]) -> Tensor:
    """Of the weights that each episode was sampled from, [E]."""
    versions = [episode.weights_version for group in groups for episode in group.episodes]
    return torch.tensor(versions, dtype=torch.int64)


def _means(kind_A: Tensor, values_A: Tensor) -> Iterator[tuple[int, float]]:
    counts = torch.bincount(kind_A)
    sums = torch.bincount(kind_A, weights=values_A)
    for kind in torch.nonzero(counts >= LEAST_TOKENS).flatten().tolist():
        yield kind, (sums[kind] / counts[kind]).item()


def ratio_readings(minibatch: Minibatch, logprobs_S: Tensor, ratios: PolicyMetrics) -> Readings:
    """How far an update's policy is from the one that played, before clipping.

    Args:
        logprobs_S: Under the policy before this update.
        ratios: Of the update.
    """
    assert minibatch.old_logprobs_S is not None
    counted_S = minibatch.weights_S > 0
    new_S = logprobs_S[counted_S].double()
    if not len(new_S):
        return {}
    log_ratio_S = (new_S - minibatch.old_logprobs_S[counted_S].double()).abs()
    rank = max(1, math.ceil(0.99 * len(log_ratio_S)))
    weight_S = (new_S - minibatch.engine_logprobs_S[counted_S].double()).exp()
    effective = weight_S.sum().square() / (len(weight_S) * weight_S.square().sum())
    clipped = ratios.clip_low + ratios.clip_high + ratios.clip_dual
    return {
        "ratio_spread": Reading(log_ratio_S.kthvalue(rank).values.item()),
        "effective_samples": Reading(effective.item()),
        "clip_share": Reading(clipped / max(ratios.tokens, 1.0)),
    }


def finite_readings(values: Mapping[str, float]) -> Readings:
    """How many of the named numbers are not finite."""
    strange = [name for name, value in values.items() if not math.isfinite(value)]
    return {"not_finite": Reading(len(strange), ", ".join(f"{name} is {values[name]}" for name in strange))}


@torch.no_grad()
def weight_readings(model: nn.Module) -> Readings:
    """How many tensors of the weights hold a number that is not finite; bits of quantised ones are none."""
    named = (
        (name, parameter) for name, parameter in model.named_parameters() if parameter.is_floating_point()
    )
    names, parameters = zip(*named, strict=True)
    # The largest size: a sum of finite numbers can overflow. nan is larger than any number here.
    sizes = torch.stack(torch._foreach_norm(parameters, float("inf"))).tolist()
    strange = [name for name, size in zip(names, sizes, strict=True) if not math.isfinite(size)]
    return {"not_finite": Reading(len(strange), ", ".join(strange[:1]))}


def spike_reading(norm: float, history: History) -> Readings:
    """The gradient's norm against its median over the last steps.

    Args:
        history: The metrics of the steps before; one without an update has no norm.
    """
    least, last = SPIKE_STEPS
    norms = [float(line["grad_norm"]) for line in history if line.get("grad_norm")]
    if len(norms) < least:
        return {}
    usual = median(norms[-last:])
    return {"gradient_spike": Reading(norm / usual, f"{norm:.3g} after a median of {usual:.3g}")}


def value_reading(history: History, lead_steps: int) -> Readings:
    """The mean explained variance of the value model over its last steps, each bounded below by -1.

    Args:
        history: The metrics of the steps so far, the last one included.
        lead_steps: Steps before which the policy does not learn; they do not count.
    """
    name = "critic/explained_variance"
    explained = [float(line[name]) for line in history[lead_steps:] if name in line]
    least, last = VALUE_STEPS
    if len(explained) < least:
        return {}
    return {"explained_variance": Reading(fmean(max(-1.0, value) for value in explained[-last:]))}
