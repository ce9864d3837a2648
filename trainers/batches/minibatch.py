"""Minibatches: the data of one optimiser step.

Suffixes: E episodes, R rows (one for each context that an episode's tokens were sampled in), A sampled
tokens of all rows, S those of rows with a gradient. Tokens are in the flat order of `packing`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ludus.kernels import token_weights
from ludus.kernels.grpo_loss.kl import kl_value
from ludus.trainers.advantages.credit import assign_credit, needs_scores
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.batches.groups import Group
from ludus.trainers.batches.layout import Layout, lay_out
from ludus.trainers.batches.packing import MicroBatch
from ludus.trainers.batches.scoring import Scores, score_layout
from ludus.trainers.config.run import RunConfig
from ludus.trainers.losses.registry import LOSSES


@dataclass(frozen=True)
class Minibatch:
    """S sampled tokens that have a gradient, in flat order (see `packing`); A sampled tokens in all."""

    micro_batches: list[MicroBatch]
    """Empty if no token has a gradient."""
    advantages_S: Tensor
    weights_S: Tensor
    """The weight of each token's term in the loss; includes the normaliser of the whole minibatch."""
    old_logprobs_S: Tensor
    """Of the policy that played, computed in the same way and the same micro-batches as the loss computes its
    own."""
    reference_logprobs_S: Tensor | None
    mismatch_A: Tensor
    """|the trainer's log-probability - the engine's|, in nats."""
    entropy_A: Tensor


def split_groups(groups: Sequence[Group], parts: int) -> list[list[Group]]:
    """The groups, whole and in order, in `parts` parts whose sizes differ by at most one."""
    chunks = np.array_split(np.arange(len(groups)), parts)
    return [[groups[index] for index in chunk] for chunk in chunks]


def make_minibatches(
    parts: Sequence[Sequence[Group]],
    model: PreTrainedModel,
    reference: PreTrainedModel | None,
    config: RunConfig,
) -> list[Minibatch]:
    """Score the tokens of all groups under the policy that sampled them, and under the reference, and give
    credit for what was earned; one minibatch for each part.

    Credit is given over the whole batch. Unless it depends on the scores, it comes first: a row whose
    advantages are all 0 has no gradient (except that of a KL term), so it is measured and counted, then left
    out.
    """
    layouts = [lay_out(part) for part in parts]
    trajectories = [layout.trajectories for layout in layouts]
    if needs_scores(config.grpo):
        scores = [
            score_layout(layout, range(len(layout.rows)), model, reference, config) for layout in layouts
        ]
        charged = [charge_kl(*pair, config) for pair in zip(layouts, scores, strict=True)]
        credit = _credit(charged, config)
    else:
        credit = _credit(trajectories, config)
        scores = [
            score_layout(layout, _with_gradient(layout, advantages, reference), model, reference, config)
            for layout, advantages in zip(layouts, credit, strict=True)
        ]
    return [
        _minibatch(layout, scored, advantages, config)
        for layout, scored, advantages in zip(layouts, scores, credit, strict=True)
    ]


def charge_kl(layout: Layout, scores: Scores, config: RunConfig) -> list[Trajectory]:
    """The trajectories, with every token charged for its divergence from the reference.

    `scores` must be of all rows, in order.
    """
    assert scores.reference_logprobs_S is not None
    grpo = config.grpo
    divergence = kl_value(grpo.kl_estimator, scores.logprobs_S, scores.reference_logprobs_S).double()
    return [
        trajectory.charged(grpo.kl_coefficient * divergence_T)
        for trajectory, divergence_T in zip(
            layout.trajectories, layout.to_trajectories(divergence), strict=True
        )
    ]


def _credit(parts: Sequence[Sequence[Trajectory]], config: RunConfig) -> list[list[Tensor]]:
    """Advantages of all trajectories, given over the whole batch; by part."""
    advantages = iter(assign_credit([trajectory for part in parts for trajectory in part], config.grpo))
    return [list(islice(advantages, len(part))) for part in parts]


def _with_gradient(
    layout: Layout, advantages: Sequence[Tensor], reference: PreTrainedModel | None
) -> list[int]:
    """The rows that a loss has a gradient on."""
    return [
        r
        for r, episode in enumerate(layout.episode_R)
        if layout.trajectories[episode].is_trained_on
        and (reference is not None or bool((layout.to_flat(advantages, [r]) != 0).any()))
    ]


def _minibatch(layout: Layout, scores: Scores, advantages: Sequence[Tensor], config: RunConfig) -> Minibatch:
    spec, tokens_E = LOSSES[config.grpo.loss], layout.tokens_E()
    weights_E = torch.zeros(len(tokens_E))
    if tokens_E.sum() > 0:
        constant = config.rollout.max_sampled_tokens if spec.normaliser == "constant" else None
        weights_E = token_weights(spec.normaliser, tokens_E, constant).float() * (tokens_E > 0)
    return Minibatch(
        scores.micro_batches,
        layout.to_flat(advantages, scores.trained).float(),
        weights_E[layout.episode_S(scores.trained)],
        scores.logprobs_S,
        scores.reference_logprobs_S,
        scores.mismatch_A,
        scores.entropy_A,
    )


def minibatch_metrics(minibatches: Sequence[Minibatch], config: RunConfig) -> dict[str, float]:
    """Before the first update: entropy, divergence from the reference, mismatch of engine and trainer."""
    mismatch = torch.cat([minibatch.mismatch_A for minibatch in minibatches])
    if not len(mismatch):
        return {}
    metrics = {
        "entropy": torch.cat([minibatch.entropy_A for minibatch in minibatches]).mean().item(),
        "mismatch_mean": mismatch.mean().item(),
        "mismatch_max": mismatch.max().item(),
    }
    divergences = [
        kl_value(config.grpo.kl_estimator, minibatch.old_logprobs_S, minibatch.reference_logprobs_S)
        for minibatch in minibatches
        if minibatch.reference_logprobs_S is not None
    ]
    if divergences:
        metrics["kl"] = torch.cat(divergences).mean().item()
    return metrics
