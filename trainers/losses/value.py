"""The loss of a value model, and how well its values explain what was earned."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ludus.trainers.batches.minibatch import Minibatch
from ludus.trainers.batches.packing import MicroBatch


def value_loss(clip: float, minibatch: Minibatch, micro: MicroBatch, values_N: Tensor) -> Tensor:
    """What a micro-batch adds to its minibatch's loss, []: half the squared error, averaged over the
    minibatch's tokens that are trained on.

    With a `clip` above 0, the larger of the errors of the value and of the value moved by at most `clip` from
    what it was (arXiv:1707.06347's authors' implementation; arXiv:2005.12729, section 3), so that there is
    no gradient once a value has moved that far towards its target.

    Args:
        values_N: Of the micro-batch's tokens under the value model being trained; differentiable.
    """
    assert minibatch.values_S is not None
    assert minibatch.targets_S is not None
    device = values_N.device
    targets_N = minibatch.targets_S[micro.token_N].to(device)
    errors_N = (values_N - targets_N).square()
    if clip:
        before_N = minibatch.values_S[micro.token_N].to(device)
        near_N = before_N + (values_N - before_N).clamp(-clip, clip)
        errors_N = errors_N.maximum((near_N - targets_N).square())
    counted_S = minibatch.weights_S > 0
    weights_N = (counted_S.float() / counted_S.sum().clamp(min=1))[micro.token_N].to(device)
    return 0.5 * (weights_N * errors_N).sum()


def value_metrics(minibatches: Sequence[Minibatch]) -> dict[str, float]:
    """Before the first update, over the tokens that are trained on: the mean value, and the explained
    variance of the targets, 1 - Var(target - value) / Var(target): 1 if values are right up to a constant, 0
    if they are no better than one number for all. Missing where all targets are the same."""
    kept = [m for m in minibatches if m.values_S is not None and m.targets_S is not None and len(m.values_S)]
    if not kept:
        return {}
    counted = torch.cat([m.weights_S > 0 for m in kept])
    values = torch.cat([m.values_S for m in kept if m.values_S is not None])[counted].double()
    targets = torch.cat([m.targets_S for m in kept if m.targets_S is not None])[counted].double()
    if not len(values):
        return {}
    metrics = {"critic/value": values.mean().item()}
    if (spread := targets.var(correction=0).item()) > 0:
        metrics["critic/explained_variance"] = 1 - (targets - values).var(correction=0).item() / spread
    return metrics
