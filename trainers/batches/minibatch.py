"""Minibatches: the data of one optimiser step.

Suffixes: E episodes, R rows (one for each context that an episode's tokens were sampled in), A sampled
tokens of all rows, S those of rows with a gradient. Tokens are in the flat order of `packing`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ludus.kernels import token_weights
from ludus.kernels.grpo_loss.kl import kl_value, log_ratio
from ludus.trainers.advantages.credit import assign_credit, needs_scores
from ludus.trainers.advantages.gae import value_targets
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.batches.bootstrap import bootstraps
from ludus.trainers.batches.groups import Group
from ludus.trainers.batches.layout import Layout, lay_out
from ludus.trainers.batches.packing import MicroBatch
from ludus.trainers.batches.scoring import Scores, score_layout
from ludus.trainers.config.run import RunConfig
from ludus.trainers.critic import Critic
from ludus.trainers.losses.correction import bounded, engine_ratio
from ludus.trainers.losses.registry import LOSSES
from ludus.trainers.teachers.lesson import Lesson, Teacher

G = TypeVar("G")


@dataclass(frozen=True)
class Minibatch:
    """S sampled tokens that have a gradient, in flat order (see `packing`); A sampled tokens in all."""

    micro_batches: list[MicroBatch]
    """Empty if no token has a gradient."""
    advantages_S: Tensor
    """With the correction for what the engine computed differently, if there is one."""
    weights_S: Tensor
    """The weight of each token's term in the loss; includes the normaliser of the whole minibatch."""
    engine_logprobs_S: Tensor
    old_logprobs_S: Tensor | None
    """Of the policy that played, computed in the same way and the same micro-batches as the loss computes its
    own. None before the only update of a batch: they are its own."""
    reference_logprobs_S: Tensor | None
    mismatch_A: Tensor
    """The trainer's log-probability minus the engine's, in nats; of all tokens, once they are scored: those
    of rows with a gradient come first."""
    entropy_A: Tensor
    engine_ratio_S: Tensor | None = None
    """What the correction follows from, before it is bounded; None without one."""
    values_S: Tensor | None = None
    """What the value model said when the batch was played; None without one."""
    targets_S: Tensor | None = None
    """What it should have said."""
    trained: Sequence[int] = ()
    """The rows of the layout that have a gradient."""
    rest_logprobs: Tensor | None = None
    """The trainer's, of the tokens of the other rows."""
    places_A3: Tensor = field(default_factory=lambda: torch.zeros(0, 3, dtype=torch.int64))
    """Where each of the A tokens was sampled: number of the episode among the groups', turn, position in the
    completion. Only the checks of the data read it."""
    bootstrap_E: Sequence[float] = ()
    """What the value model expected after each trajectory."""
    lesson: Lesson | None = None
    """What a teacher says of the tokens; None without one."""

    def scored_by(self, logprobs_S: Tensor, entropy_S: Tensor) -> "Minibatch":
        """The minibatch, with what its only update computed."""
        mismatch_S = logprobs_S - self.engine_logprobs_S
        return replace(
            self,
            old_logprobs_S=logprobs_S,
            mismatch_A=torch.cat([mismatch_S, self.mismatch_A]),
            entropy_A=torch.cat([entropy_S, self.entropy_A]),
        )


def split_groups(groups: Sequence[G], parts: int) -> list[list[G]]:
    """The groups, whole and in order, in `parts` parts whose sizes differ by at most one."""
    chunks = np.array_split(np.arange(len(groups)), parts)
    return [[groups[index] for index in chunk] for chunk in chunks]


def scored_by_update(config: RunConfig) -> bool:
    """Whether a batch's update can score it as well, since nothing needs the scores before: there is one
    update, before which new and old policy are the same."""
    grpo = config.grpo
    updates = grpo.updates_per_batch * grpo.epochs_per_batch
    return updates == 1 and grpo.correction == "none" and not needs_scores(grpo)


def make_minibatches(
    parts: Sequence[Sequence[Group]],
    model: PreTrainedModel,
    reference: PreTrainedModel | None,
    config: RunConfig,
    critic: Critic | None = None,
    before_update: bool = True,
    teacher: Teacher | None = None,
) -> list[Minibatch]:
    """Score the tokens of all groups under the policy that sampled them, and under the reference, and give
    credit for what was earned; one minibatch for each part.

    Args:
        critic: The value model; required for credit by gae.
        before_update: False leaves what the loss scores to the update; only where `scored_by_update`.
        teacher: Required for credit by teacher.
    """
    layouts = [lay_out(part) for part in parts]
    value_model = None if critic is None else critic.model

    def scores(index: int, trained: Sequence[int]) -> Scores:
        return score_layout(
            layouts[index], trained, model, reference, config, value_model, before_update, teacher
        )

    def ahead(index: int) -> Sequence[float]:
        assert critic is not None
        episodes = [episode for group in parts[index] for episode in group.episodes]
        return bootstraps(episodes, model, critic, config.grpo.microbatch_tokens)

    everywhere = reference is not None or config.grpo.entropy_coefficient > 0
    return assemble(layouts, scores, ahead, everywhere, config)


def assemble(
    layouts: Sequence[Layout],
    score: Callable[[int, Sequence[int]], Scores],
    ahead: Callable[[int], Sequence[float]],
    everywhere: bool,
    config: RunConfig,
) -> list[Minibatch]:
    """Credit for what was earned in the batch, and the minibatches that follow: one for each layout.

    Args:
        score: What the models say of the tokens of the layout with this index, whose given rows are trained
            on.
        ahead: What the value model expects after each of its trajectories; asked with credit by gae alone.
        everywhere: Whether a term of the loss has a gradient on every row.

    Credit is given over the whole batch. Unless it depends on the scores, it comes first: a row whose
    advantages are all 0 has no gradient (except that of a KL term or of an entropy bonus), so it is measured
    and counted, then left out.
    """
    grpo = config.grpo
    trajectories: list[Sequence[Trajectory]] = [layout.trajectories for layout in layouts]
    if needs_scores(grpo):
        scores = [score(index, layout.all_rows()) for index, layout in enumerate(layouts)]
        if grpo.kl_in == "reward" and grpo.kl_coefficient > 0:
            trajectories = [charge_kl(*pair, config) for pair in zip(layouts, scores, strict=True)]
        if config.distillation is not None and not config.distillation.top_k:
            trajectories = [taught(*of) for of in zip(layouts, trajectories, scores, strict=True)]
        if grpo.credit == "gae":
            trajectories = [
                valued(layout, charged, scored, ahead(index))
                for index, (layout, charged, scored) in enumerate(
                    zip(layouts, trajectories, scores, strict=True)
                )
            ]
        credit = _credit(trajectories, config)
    else:
        credit = _credit(trajectories, config)
        scores = [
            score(index, _with_gradient(layout, advantages, everywhere))
            for index, (layout, advantages) in enumerate(zip(layouts, credit, strict=True))
        ]
    minibatches = [
        _minibatch(layout, scored, advantages, config)
        for layout, scored, advantages in zip(layouts, scores, credit, strict=True)
    ]
    if grpo.credit != "gae":
        return minibatches
    return [
        _with_targets(*judged, config)
        for judged in zip(minibatches, layouts, trajectories, scores, strict=True)
    ]


def charge_kl(layout: Layout, scores: Scores, config: RunConfig) -> Sequence[Trajectory]:
    """The trajectories, with every token charged for its divergence from the reference.

    `scores` must be of all rows, in order.
    """
    assert scores.logprobs_S is not None
    assert scores.reference_logprobs_S is not None
    grpo = config.grpo
    divergence = kl_value(grpo.kl_estimator, scores.logprobs_S, scores.reference_logprobs_S).double()
    return [
        trajectory.charged(grpo.kl_coefficient * divergence_T)
        for trajectory, divergence_T in zip(
            layout.trajectories, layout.to_trajectories(divergence), strict=True
        )
    ]


def taught(layout: Layout, trajectories: Sequence[Trajectory], scores: Scores) -> Sequence[Trajectory]:
    """The trajectories, with the teacher's log-probability of every token less the policy's among its
    rewards: on average -KL(policy || teacher) of the next token.

    `scores` must be of all rows, in order.
    """
    assert scores.lesson is not None
    assert scores.logprobs_S is not None
    charges = layout.to_trajectories(log_ratio(scores.logprobs_S, scores.lesson.logprobs_S).double())
    return [trajectory.charged(charge_T) for trajectory, charge_T in zip(trajectories, charges, strict=True)]


def valued(
    layout: Layout, trajectories: Sequence[Trajectory], scores: Scores, bootstrap_E: Sequence[float]
) -> Sequence[Trajectory]:
    """The trajectories, with the value of every token and of what would have followed a truncation.

    `scores` must be of all rows, in order.
    """
    assert scores.values_S is not None
    values = layout.to_trajectories(scores.values_S.double())
    return [
        replace(trajectory, values_T=values_T, bootstrap=bootstrap)
        for trajectory, values_T, bootstrap in zip(trajectories, values, bootstrap_E, strict=True)
    ]


def _with_targets(
    minibatch: Minibatch,
    layout: Layout,
    trajectories: Sequence[Trajectory],
    scores: Scores,
    config: RunConfig,
) -> Minibatch:
    targets = value_targets(trajectories, config.grpo.gamma, config.grpo.gae_lambda)
    targets_S = layout.to_flat(targets, scores.trained).float()
    return replace(
        minibatch,
        values_S=scores.values_S,
        targets_S=targets_S,
        bootstrap_E=[trajectory.bootstrap for trajectory in trajectories],
    )


def _credit(parts: Sequence[Sequence[Trajectory]], config: RunConfig) -> list[list[Tensor]]:
    """Advantages of all trajectories, given over the whole batch; by part."""
    advantages = iter(assign_credit([trajectory for part in parts for trajectory in part], config.grpo))
    return [list(islice(advantages, len(part))) for part in parts]


def _with_gradient(layout: Layout, advantages: Sequence[Tensor], everywhere: bool) -> list[int]:
    """The rows that a loss has a gradient on: those with an advantage or, where a term of the loss has one
    everywhere, all that are trained on."""
    return [
        r
        for r, episode in enumerate(layout.episode_R)
        if layout.trajectories[episode].is_trained_on
        and (everywhere or bool((layout.to_flat(advantages, [r]) != 0).any()))
    ]


def _minibatch(layout: Layout, scores: Scores, advantages: Sequence[Tensor], config: RunConfig) -> Minibatch:
    spec, tokens_E = LOSSES[config.grpo.loss], layout.tokens_E()
    weights_E = torch.zeros(len(tokens_E))
    if tokens_E.sum() > 0:
        constant = config.rollout.max_sampled_tokens if spec.normaliser == "constant" else None
        weights_E = token_weights(spec.normaliser, tokens_E, constant).float() * (tokens_E > 0)
    advantages_S, ratio_S = layout.to_flat(advantages, scores.trained).float(), None
    if config.grpo.correction != "none":
        assert scores.logprobs_S is not None
        counts_R = layout.counts(scores.trained)
        ratio_S = engine_ratio(config.grpo.correction, scores.logprobs_S, scores.engine_logprobs_S, counts_R)
        # A factor on the advantage is one on the policy's term alone: the divergence and the entropy are
        # those of the visited states.
        advantages_S = advantages_S * bounded(
            config.grpo.correction_mode, config.grpo.correction_bound, ratio_S
        )
    return Minibatch(
        scores.micro_batches,
        advantages_S,
        weights_E[layout.episode_S(scores.trained)],
        scores.engine_logprobs_S,
        scores.logprobs_S,
        scores.reference_logprobs_S,
        scores.mismatch_A,
        scores.entropy_A,
        ratio_S,
        trained=scores.trained,
        places_A3=layout.places([*scores.trained, *layout.others(scores.trained)]),
        rest_logprobs=scores.rest_logprobs,
        lesson=scores.lesson,
    )


def minibatch_metrics(minibatches: Sequence[Minibatch], config: RunConfig) -> dict[str, float]:
    """Before the first update: entropy, divergence from the reference, mismatch of engine and trainer, and
    the weights that correct it."""
    signed = torch.cat([minibatch.mismatch_A for minibatch in minibatches])
    if not len(signed):
        return {}
    mismatch = signed.abs()
    metrics = {
        "entropy": torch.cat([minibatch.entropy_A for minibatch in minibatches]).mean().item(),
        "mismatch_mean": mismatch.mean().item(),
        "mismatch_max": mismatch.max().item(),
        "mismatch_bias": signed.double().mean().item(),
    }
    divergences = [
        kl_value(config.grpo.kl_estimator, minibatch.old_logprobs_S, minibatch.reference_logprobs_S)
        for minibatch in minibatches
        if minibatch.old_logprobs_S is not None and minibatch.reference_logprobs_S is not None
    ]
    if divergences:
        metrics["kl"] = torch.cat(divergences).mean().item()
    metrics |= {
        name: values.double().mean().item() for name, values in divergences_from_teacher(minibatches).items()
    }
    grpo = config.grpo
    ratios = [minibatch.engine_ratio_S for minibatch in minibatches if minibatch.engine_ratio_S is not None]
    if ratios and len(ratio := torch.cat(ratios)):
        metrics["correction_mean"] = bounded(grpo.correction_mode, grpo.correction_bound, ratio).mean().item()
        metrics["correction_bounded"] = (ratio > grpo.correction_bound).float().mean().item()
    return metrics


def divergences_from_teacher(minibatches: Sequence[Minibatch]) -> dict[str, Tensor]:
    """What the tokens of each metric say of KL(policy || teacher): all of them, and those from the 1st, 2nd,
    4th, 8th, … place in their completion up to the next of these. Empty without a teacher."""
    taught = [m for m in minibatches if m.lesson is not None and m.old_logprobs_S is not None]
    if not taught:
        return {}
    values_S = torch.cat(
        [
            log_ratio(m.old_logprobs_S, m.lesson.logprobs_S)
            for m in taught
            if m.lesson is not None and m.old_logprobs_S is not None
        ]
    )
    place_S = torch.cat([m.places_A3[: len(m.weights_S), 2] for m in taught])
    from_S = 2 ** (place_S + 1).double().log2().long()
    by_place = {f"teacher/kl/{first}": values_S[from_S == first] for first in from_S.unique().tolist()}
    return {"teacher/kl": values_S, **by_place} if len(values_S) else {}
