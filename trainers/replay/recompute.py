"""`recompute`: the losses of a stored step again, by the code that training runs, without a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from ludus.kernels.grpo_loss.kl import LOG_RATIO_LIMIT, log_ratio
from ludus.trainers.algorithms.grpo import Update, update_metrics
from ludus.trainers.batches.groups import group_up
from ludus.trainers.batches.layout import Layout
from ludus.trainers.batches.minibatch import (
    Minibatch,
    assemble,
    divergences_from_teacher,
    minibatch_metrics,
    split_groups,
)
from ludus.trainers.batches.packing import MicroBatch
from ludus.trainers.batches.scoring import Scores
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import RunError
from ludus.trainers.losses.policy import PolicyMetrics, policy_loss_by_token
from ludus.trainers.losses.value import value_loss, value_metrics
from ludus.trainers.replay.stored import StoredTokens
from ludus.trainers.teachers.lesson import Lesson

_LACKING = {
    "reference": "the reference's log-probabilities",
    "value": "the values of a value model",
    "teacher": "a teacher's log-probabilities",
    "divergence": "the divergences from a teacher",
    "update": "the policy's log-probabilities after a batch's first update",
}


@dataclass(frozen=True)
class Pass:
    """One update on each token, [F]; NaN where the token had no part in one."""

    logprobs_F: Tensor
    """Before it."""
    losses_F: Tensor
    """What each token adds to the loss, but for an entropy bonus."""


@dataclass(frozen=True)
class Recomputed:
    """A step's losses by one algorithm; F sampled tokens as in `StoredTokens`."""

    metrics: dict[str, float]
    """Under the names that a run logs."""
    sizes: dict[str, float]
    """For those metrics whose terms cancel, the same with the terms' absolute values: what rounding is
    relative to."""
    advantages_F: Tensor
    """NaN where a token has no part in the loss, as in rows without a gradient."""
    weights_F: Tensor
    targets_F: Tensor
    """What a value model should have said; NaN without one."""
    passes: tuple[Pass, ...]
    gradient_F: Tensor
    """Of the losses of all passes in the token's log-probability, but for an entropy bonus; 0 without one."""


def recompute(stored: StoredTokens, algorithm: int, config: RunConfig, label: str, file: Path) -> Recomputed:
    """
    Args:
        algorithm: Which of the configurations that `stored` was read for.
        config: That one, as it holds at the step.
        label: Names the algorithm in an error.
        file: Names the file in an error.

    Raises:
        RunError: if the loss depends on numbers that the run did not compute.
    """
    grpo, count = config.grpo, len(stored.engine_F)
    groups = [
        members
        for members, is_flat in group_up(stored.trajectories[algorithm], grpo)
        if not (grpo.dynamic_sampling and is_flat)
    ]
    parts = [list(chain(*part)) for part in split_groups(groups, grpo.updates_per_batch)]
    layouts = [stored.layout(algorithm, members) for members in parts]

    def places(index: int, rows: Sequence[int]) -> Tensor:
        """Which of the F tokens are those of a layout's rows, in flat order."""
        return layouts[index].to_flat([stored.places[e] for e in parts[index]], rows).long()

    def numbers(name: str, place_S: Tensor) -> Tensor:
        column = stored.named.get(name)
        lacking = len(place_S) if column is None else int(column[place_S].isnan().sum())
        if column is None and lacking == 0:
            return torch.zeros(0)
        if column is None or lacking:
            what = _LACKING.get(name.partition("-")[0], f"{name}s")
            raise RunError(
                f"{file}: {label} needs {what} of {lacking:,} tokens, which the run did not compute; compare "
                "with an algorithm that does without, or train with this one"
            )
        return column[place_S]

    def score(index: int, trained: Sequence[int]) -> Scores:
        place_S, rest = places(index, trained), places(index, layouts[index].others(trained))
        logprobs_S, rest_logprobs = numbers("logprob", place_S), numbers("logprob", rest)
        engine_S = stored.engine_F[place_S]
        return Scores(
            trained,
            [],
            logprobs_S,
            engine_S,
            numbers("reference", place_S) if grpo.kl_coefficient else None,
            torch.cat([logprobs_S - engine_S, rest_logprobs - stored.engine_F[rest]]),
            torch.cat([numbers("entropy", place_S), numbers("entropy", rest)]),
            rest_logprobs,
            numbers("value", place_S) if grpo.credit == "gae" else None,
            Lesson(numbers("teacher", place_S)) if config.distillation is not None else None,
        )

    def ahead(index: int) -> list[float]:
        return [stored.bootstrap_E[e] for e in parts[index]]

    everywhere = grpo.kl_coefficient > 0 or grpo.entropy_coefficient > 0
    minibatches = assemble(layouts, score, ahead, everywhere, config)
    with_gradient = [index for index, minibatch in enumerate(minibatches) if len(minibatch.weights_S)]
    several = len(with_gradient) * grpo.epochs_per_batch > 1

    def column() -> Tensor:
        return torch.full((count,), torch.nan)

    advantages_F, weights_F, targets_F = column(), column(), column()
    gradient_F = torch.zeros(count)
    place_I = [places(index, minibatch.trained) for index, minibatch in enumerate(minibatches)]
    for minibatch, place_S in zip(minibatches, place_I, strict=True):
        advantages_F[place_S], weights_F[place_S] = minibatch.advantages_S, minibatch.weights_S
        if minibatch.targets_S is not None:
            targets_F[place_S] = minibatch.targets_S
    updates, passes, sizes = [], [], _Sizes()
    for number in range(1, grpo.epochs_per_batch + 1):
        logprobs_F, losses_F = column(), column()
        for index in with_gradient:
            minibatch, place_S = minibatches[index], place_I[index]
            before = f"update-{number}/" if several else ""
            logprobs_S = numbers(f"{before}logprob", place_S)
            micro = _whole(layouts[index], minibatch)
            by_token = policy_loss_by_token(grpo, minibatch, micro, logprobs_S)
            loss = by_token.losses.double().sum()
            entropy_S = torch.zeros_like(logprobs_S)
            if grpo.entropy_coefficient:
                entropy_S = numbers(f"{before}entropy", place_S)
                loss = loss - grpo.entropy_coefficient * (minibatch.weights_S * entropy_S).sum()
            bonus_S = -grpo.entropy_coefficient * entropy_S
            divergence_S = None
            if config.distillation is not None and config.distillation.top_k:
                divergence_S = numbers(f"{before}divergence", place_S)
                loss = loss + (minibatch.weights_S * divergence_S).sum()
                bonus_S = bonus_S.abs() + divergence_S
            value_error = 0.0
            if config.critic is not None:
                values_S = numbers(f"{before}value", place_S)
                value_error = value_loss(config.critic.value_clip, minibatch, micro, values_S).item()
            updates.append(
                Update(
                    loss.item(),
                    PolicyMetrics.read(by_token.metrics),
                    logprobs_S,
                    entropy_S,
                    value_loss=value_error,
                    divergence_S=divergence_S,
                )
            )
            sizes.add_update(minibatch, by_token.losses, logprobs_S, bonus_S)
            logprobs_F[place_S], losses_F[place_S] = logprobs_S, by_token.losses
            gradient_F[place_S] += by_token.gradient
        passes.append(Pass(logprobs_F, losses_F))
    metrics = {
        **minibatch_metrics(minibatches, config),
        **value_metrics(minibatches),
        **update_metrics(updates, config.critic is not None),
    }
    return Recomputed(
        {name: value for name, value in metrics.items() if not name.endswith("grad_norm")},
        {**sizes.of(minibatches), "mismatch_bias": metrics.get("mismatch_mean", 0.0)},
        advantages_F,
        weights_F,
        targets_F,
        tuple(passes),
        gradient_F,
    )


def _whole(layout: Layout, minibatch: Minibatch) -> MicroBatch:
    """All tokens of a minibatch, in flat order, for a loss; no model reads it."""
    count, nothing = len(minibatch.weights_S), torch.zeros(0)
    row_N = torch.tensor(minibatch.trained).repeat_interleave(layout.counts(minibatch.trained))
    return MicroBatch(nothing, nothing, (), nothing, nothing, nothing, row_N, torch.arange(count))


class _Sizes:
    """Adds up the absolute values of what cancels in a metric."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._divergence, self._tokens = 0.0, 0

    def add_update(self, minibatch: Minibatch, losses_S: Tensor, logprobs_S: Tensor, bonus_S: Tensor) -> None:
        assert minibatch.old_logprobs_S is not None
        size = losses_S.abs().double().sum() + (minibatch.weights_S * bonus_S).abs().double().sum()
        self._losses.append(size.item())
        counted_S = minibatch.weights_S > 0
        self._divergence += _divergence(logprobs_S, minibatch.old_logprobs_S)[counted_S].sum().item()
        self._tokens += int(counted_S.sum())

    def of(self, minibatches: Sequence[Minibatch]) -> dict[str, float]:
        sizes: dict[str, float] = {}
        if self._losses:
            sizes["loss"] = sum(self._losses) / len(self._losses)
            sizes["policy_kl"] = self._divergence / max(1, self._tokens)
        references = [
            _divergence(m.old_logprobs_S, m.reference_logprobs_S)
            for m in minibatches
            if m.old_logprobs_S is not None and m.reference_logprobs_S is not None
        ]
        if references and len(all_S := torch.cat(references)):
            sizes["kl"] = all_S.mean().item()
        sizes |= {
            name: values.abs().double().mean().item()
            for name, values in divergences_from_teacher(minibatches).items()
        }
        valued = [m for m in minibatches if m.values_S is not None and m.targets_S is not None]
        if valued:
            values = torch.cat([m.values_S for m in valued if m.values_S is not None]).double()
            targets = torch.cat([m.targets_S for m in valued if m.targets_S is not None]).double()
            if len(values):
                square = (values.abs() + targets.abs()).square().mean().item()
                spread = targets.var(correction=0).item()
                sizes["critic/value"] = values.abs().mean().item()
                sizes["critic/loss"] = square
                sizes["critic/explained_variance"] = square / spread if spread else 0.0
        return sizes


def _divergence(one: Tensor, other: Tensor) -> Tensor:
    """The absolute values of what any of the estimators takes the difference of."""
    d = log_ratio(one, other).double().clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return d.abs().maximum(d.expm1().abs()).maximum((-d).expm1().abs()) + d.abs()
