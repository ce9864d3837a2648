"""Minibatches: the data of one optimiser step.

Suffixes: E episodes, R rows (one for each context that an episode's tokens were sampled in), A sampled
tokens of all rows, S those of rows with a gradient. Tokens are in the flat order of `packing`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ludus.agents.episode import TrainingSequence
from ludus.kernels import token_weights
from ludus.kernels.grpo_loss.kl import kl_value
from ludus.trainers.batches.groups import Group
from ludus.trainers.batches.packing import MicroBatch, flat_logprobs, pack, sampled_counts
from ludus.trainers.config.run import RunConfig
from ludus.trainers.losses.registry import LOSSES
from ludus.trainers.models.forward import score


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


def make_minibatch(
    groups: Sequence[Group], model: PreTrainedModel, reference: PreTrainedModel | None, config: RunConfig
) -> Minibatch:
    """Score the groups' tokens under the policy that sampled them, and under the reference.

    A row whose advantages are all 0 has no gradient (except that of the KL term), so it is measured and
    counted, then left out.
    """
    grpo, temperature = config.grpo, config.rollout.temperature
    spec = LOSSES[grpo.loss]
    episodes = [episode for group in groups for episode in group.episodes]
    rows, episode_R = [], []
    for index, episode in enumerate(episodes):
        for row in episode.training_sequences():
            rows.append(row)
            episode_R.append(index)
    counts_R = sampled_counts(rows)
    tokens_E = torch.zeros(len(episodes), dtype=torch.int64)
    tokens_E.index_add_(0, torch.tensor(episode_R, dtype=torch.int64), counts_R)

    advantages_E = torch.tensor([value for group in groups for value in group.advantages])
    weights_E = torch.zeros(len(episodes))
    if tokens_E.sum() > 0:
        constant = config.rollout.max_sampled_tokens if spec.normaliser == "constant" else None
        weights_E = token_weights(spec.normaliser, tokens_E, constant).float()

    has_gradient = [reference is not None or advantages_E[index] != 0 for index in episode_R]
    trained = [r for r, has in enumerate(has_gradient) if has]
    rest = [row for row, has in zip(rows, has_gradient, strict=True) if not has]
    trained_rows = [rows[r] for r in trained]
    episode_S = torch.tensor(episode_R, dtype=torch.int64)[trained].repeat_interleave(counts_R[trained])

    micro_batches = pack(trained_rows, grpo.microbatch_tokens)
    old_S, entropy_S = score_rows(model, trained_rows, micro_batches, temperature)
    rest_logprobs, rest_entropy = score_rows(model, rest, pack(rest, grpo.microbatch_tokens), temperature)
    ours_A = torch.cat([old_S, rest_logprobs])
    engines_A = torch.cat([flat_logprobs(trained_rows), flat_logprobs(rest)])
    return Minibatch(
        micro_batches,
        advantages_E[episode_S],
        weights_E[episode_S],
        old_S,
        None if reference is None else score_rows(reference, trained_rows, micro_batches, temperature)[0],
        (ours_A - engines_A).abs(),
        torch.cat([entropy_S, rest_entropy]),
    )


@torch.no_grad()
def score_rows(
    model: PreTrainedModel,
    rows: Sequence[TrainingSequence],
    micro_batches: Sequence[MicroBatch],
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies of all sampled tokens, each [S] in flat order, on the CPU."""
    logprobs_S = torch.zeros(int(sampled_counts(rows).sum()))
    entropy_S = torch.zeros_like(logprobs_S)
    for micro in micro_batches:
        scored = score(model, micro, temperature)
        logprobs_S[micro.token_N] = scored.logprobs.cpu()
        entropy_S[micro.token_N] = scored.entropy.cpu()
    return logprobs_S, entropy_S


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
