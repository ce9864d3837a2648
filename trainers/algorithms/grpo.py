"""GRPO: play groups of episodes from one start each; make likelier what earned more than its group's mean.

`improve` is the whole algorithm, top to bottom. The formulas are the operators `group_advantage` and
`grpo_loss` of `ludus.kernels`, and `losses`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ludus.agents.episode import Episode, TrainingSequence
from ludus.agents.policy import Policy
from ludus.agents.rollout import EpisodeStart, rollout
from ludus.agents.store import write_episodes
from ludus.kernels import GroupAdvantage, group_advantage, grpo_loss
from ludus.kernels.group_advantage.reference import AdvantageKind
from ludus.kernels.grpo_loss.kl import kl_value
from ludus.trainers.batches.packing import MicroBatch, flat_logprobs, pack, sampled_counts
from ludus.trainers.config import GrpoSection, RunConfig
from ludus.trainers.errors import RunError, TrainingDiverged
from ludus.trainers.listener import Listener
from ludus.trainers.losses.weights import PolicyMetrics, row_weights, soft_overlong_penalty
from ludus.trainers.metrics import episode_metrics
from ludus.trainers.models.checkpoint import disk_errors
from ludus.trainers.models.forward import score
from ludus.trainers.models.optimizer import apply_gradients, build_optimizer, learning_rate
from ludus.trainers.phase import TrainingPhase
from ludus.trainers.tasks import TaskStream

Play = Callable[[int, int], list[Episode]]
"""Plays so many groups, numbered from the second argument on."""


def improve(
    model: PreTrainedModel,
    policy: Policy,
    reference: PreTrainedModel | None,
    config: RunConfig,
    run: Path,
    tasks: TaskStream,
    listener: Listener,
    weights_changed: Callable[[], None],
) -> None:
    """Train `model` in place on the rewards of the episodes that `policy`, which samples from it, plays.

    Args:
        reference: The primed model; needed if `config.grpo.kl_coefficient` is not 0.
        weights_changed: Called when a step's updates are done, so that the engine forgets what it computed
            before.

    Raises:
        TrainingDiverged: if the loss is not finite, or engine and trainer disagree about the policy.
        RunError: if every episode of a step faulted, or the disk is full.
        KeyboardInterrupt: after Ctrl-C; what was trained is saved.
    """
    grpo = config.grpo
    optimizer = build_optimizer(model, grpo)

    def play(groups: int, first_group: int) -> list[Episode]:
        return play_groups(policy, tasks.take(groups), first_group, config)

    with TrainingPhase(
        run, "grpo", grpo.steps, config.sft.steps, model, optimizer, tasks, config.checkpoint, listener
    ) as phase:
        for step in phase.steps():
            began = time.perf_counter()
            played, taught = gather(play, config)
            rolled_out = time.perf_counter()

            minibatches = [prepare(part, model, reference, config) for part in deal(taught, config)]
            measured = measure(minibatches, config)
            check_engine(measured, grpo, step)
            rate = learning_rate(grpo, step, grpo.steps)
            updates: list[Update] = []
            for minibatch in minibatches:
                if minibatch.micro_batches:
                    loss, ratios = accumulate_gradients(minibatch, model, grpo, config.rollout.temperature)
                    check_loss(loss, ratios, grpo, step, first=not updates)
                    updates.append(Update(loss, ratios, apply_gradients(optimizer, rate, grpo.max_grad_norm)))
            weights_changed()
            trained = time.perf_counter()

            if step in (0, grpo.steps - 1) or (step + 1) % grpo.store_every == 0:
                store(played, run, step + 1)
            metrics = {
                **episode_metrics(played),
                **measured,
                **summarise_updates(updates),
                "learning_rate": rate,
                "tokens_per_second": completion_tokens(played) / (trained - began),
                "seconds/rollout": rolled_out - began,
                "seconds/train": trained - rolled_out,
                "seconds/total": trained - began,
            }
            phase.finish(step, metrics)


# Rollouts


def play_groups(policy: Policy, seeds: Sequence[int], first_group: int, config: RunConfig) -> list[Episode]:
    """`group_size` episodes from each seed; the groups are numbered from `first_group` on."""
    starts = [
        EpisodeStart(seed, group=first_group + index, sample=sample)
        for index, seed in enumerate(seeds)
        for sample in range(config.grpo.group_size)
    ]
    return rollout(policy, config.environment.spec, starts, config.rollout.limits, config.rollout.concurrency)


def gather(play: Play, config: RunConfig) -> tuple[list[Episode], list[Episode]]:
    """Play a step's groups.

    Returns:
        All episodes that were played, and those that are trained on. A faulted episode is never trained on:
        it says nothing about the policy. With dynamic sampling (DAPO, arXiv:2503.14476, section 3.2) neither
        is a flat group; further groups are played in their place, `max_resamples` times at most.

    Raises:
        RunError: if every episode faulted, or none had room for a single token.
    """
    grpo = config.grpo
    played = play(grpo.groups, 0)
    taught = [episode for episode in played if not episode.is_fault]
    if grpo.dynamic_sampling:
        taught = without_flat_groups(taught, config)
        for _ in range(grpo.max_resamples):
            missing = grpo.groups - len({episode.group for episode in taught})
            if not missing:
                break
            more = play(missing, 1 + max(episode.group for episode in played))
            played = [*played, *more]
            taught += without_flat_groups([episode for episode in more if not episode.is_fault], config)
    if all(episode.is_fault for episode in played):
        raise RunError(
            f"all {len(played)} episodes of a step faulted, the first with: {played[0].fault}; there is "
            "nothing to train on. Mend what broke and go on with --resume"
        )
    if not completion_tokens(played):
        raise RunError(
            f"no token was sampled in {len(played)} episodes, the first of which ended by "
            f"{played[0].stop.value}: the prompt alone leaves no room; raise rollout.max_episode_tokens = "
            f"{config.rollout.max_episode_tokens}, or take a model with a longer context"
        )
    return played, taught


def without_flat_groups(episodes: Sequence[Episode], config: RunConfig) -> list[Episode]:
    flat_E = advantages_of(episodes, config).flat.tolist()
    return [episode for episode, flat in zip(episodes, flat_E, strict=True) if not flat]


def shaped_rewards(episodes: Sequence[Episode], config: RunConfig) -> list[float]:
    """Returns; where it is switched on, with the soft overlong penalty of an episode's longest completion.

    Raises:
        RunError: if a return is not finite.
    """
    returns = [episode.episode_return for episode in episodes]
    for episode, earned in zip(episodes, returns, strict=True):
        if not math.isfinite(earned):
            raise RunError(
                f"an episode of {episode.environment} with seed {episode.seed} earned {earned}: a reward "
                "term divided by 0 or overflowed. Mend it and go on with --resume"
            )
    if not config.grpo.overlong_tokens:
        return returns
    longest = [max((len(turn.completion_ids) for turn in episode.turns), default=0) for episode in episodes]
    penalties = soft_overlong_penalty(
        torch.tensor(longest), config.rollout.max_tokens, config.grpo.overlong_tokens
    )
    return [reward + penalty for reward, penalty in zip(returns, penalties.tolist(), strict=True)]


def advantages_of(episodes: Sequence[Episode], config: RunConfig) -> GroupAdvantage:
    """Where the model is, in float64."""
    kind: AdvantageKind = "dr_grpo" if config.grpo.loss == "dr_grpo" else "grpo"
    if config.grpo.advantage != "default":
        kind = config.grpo.advantage
    rewards = torch.tensor(shaped_rewards(episodes, config), dtype=torch.float64)
    groups = torch.tensor([episode.group for episode in episodes], dtype=torch.int64)
    return group_advantage(rewards.to(config.model.device), groups.to(config.model.device), kind)


# One batch


@dataclass(frozen=True)
class Part:
    """The episodes of one minibatch, each with its advantage."""

    episodes: list[Episode]
    advantages: list[float]


def deal(episodes: Sequence[Episode], config: RunConfig) -> list[Part]:
    """Cut a batch into `updates_per_batch` minibatches of whole groups, after advantages are taken."""
    values = advantages_of(episodes, config).values.tolist()
    groups = sorted({episode.group for episode in episodes})
    parts = []
    for members in np.array_split(np.array(groups, dtype=np.int64), config.grpo.updates_per_batch):
        chosen = [i for i, episode in enumerate(episodes) if episode.group in members]
        parts.append(Part([episodes[i] for i in chosen], [values[i] for i in chosen]))
    return parts


@dataclass(frozen=True)
class Minibatch:
    """What one update needs. R rows that teach something, with S sampled tokens in flat order (see
    `packing`); A tokens in all, those of rows without a gradient included."""

    micro_batches: list[MicroBatch]
    weights_R: Tensor
    advantages_R: Tensor
    old_logprobs_S: Tensor
    """Of the policy that played, computed as the loss computes its own, in the same micro-batches."""
    reference_logprobs_S: Tensor | None
    mismatch_A: Tensor
    """|log-probability of the trainer - that of the engine|, in nats."""
    entropy_A: Tensor


def prepare(
    part: Part, model: PreTrainedModel, reference: PreTrainedModel | None, config: RunConfig
) -> Minibatch:
    """Score a minibatch under the policy that played it, and under the reference.

    A row whose advantage is 0 has no gradient (but for the KL term), so it is measured and counted, and then
    left out.
    """
    grpo, temperature = config.grpo, config.rollout.temperature
    rows, episode_of = rows_of(part.episodes)
    advantages_R = torch.tensor([part.advantages[e] for e in episode_of], dtype=torch.float32)
    counts_R = sampled_counts(rows)
    weights_R = torch.zeros(len(rows), dtype=torch.float64)
    if counts_R.sum() > 0:
        weights_R = row_weights(grpo.loss, counts_R, torch.tensor(episode_of), config.rollout.longest)

    teaches = [reference is not None or advantage != 0 for advantage in advantages_R.tolist()]
    live = [i for i, taught in enumerate(teaches) if taught]
    live_rows = [rows[i] for i in live]
    micro_batches = pack(live_rows, grpo.microbatch_tokens)
    old_S, entropy_S = score_rows(model, live_rows, micro_batches, temperature)

    rest = [row for row, taught in zip(rows, teaches, strict=True) if not taught]
    rest_logprobs, rest_entropy = score_rows(model, rest, pack(rest, grpo.microbatch_tokens), temperature)
    ours_A = torch.cat([old_S, rest_logprobs])
    engines_A = torch.cat([flat_logprobs(live_rows), flat_logprobs(rest)])
    return Minibatch(
        micro_batches,
        weights_R[live].float(),
        advantages_R[live],
        old_S,
        None if reference is None else score_rows(reference, live_rows, micro_batches, temperature)[0],
        (ours_A - engines_A).abs(),
        torch.cat([entropy_S, rest_entropy]),
    )


def rows_of(episodes: Sequence[Episode]) -> tuple[list[TrainingSequence], list[int]]:
    """The episodes' rows, and of which episode each one is."""
    rows = [(row, index) for index, episode in enumerate(episodes) for row in episode.training_sequences()]
    return [row for row, _ in rows], [index for _, index in rows]


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


def accumulate_gradients(
    minibatch: Minibatch, model: PreTrainedModel, config: GrpoSection, temperature: float
) -> tuple[float, PolicyMetrics]:
    """Add the gradients of a minibatch's loss to the model's; they do not depend on the cut into
    micro-batches. Computed where the model is; nothing waits for a GPU before the last micro-batch."""
    losses, metrics = [], []
    for micro in minibatch.micro_batches:
        logprobs_N = score(model, micro, temperature).logprobs
        device, reference_S = logprobs_N.device, minibatch.reference_logprobs_S
        loss, measured = grpo_loss(
            logprobs_N,
            minibatch.old_logprobs_S[micro.token_N].to(device),
            minibatch.advantages_R[micro.row_N].to(device),
            minibatch.weights_R[micro.row_N].to(device),
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            offsets=micro.offsets.to(device) if config.loss == "gspo" else None,
            ratio="sequence" if config.loss == "gspo" else "token",
            objective="cispo" if config.loss == "cispo" else "clip",
            reference_logprobs=None if reference_S is None else reference_S[micro.token_N].to(device),
            kl_estimator=config.kl_estimator,
            kl_coefficient=0.0 if reference_S is None else config.kl_coefficient,
            aggregation="sum",
        )
        loss.backward()
        losses.append(loss.detach())
        metrics.append(measured)
    return sum(loss.item() for loss in losses), sum(map(PolicyMetrics.read, metrics), PolicyMetrics())


# Measures


@dataclass(frozen=True)
class Update:
    """What one optimiser step says about itself."""

    loss: float
    ratios: PolicyMetrics
    grad_norm: float


def measure(minibatches: Sequence[Minibatch], config: RunConfig) -> dict[str, float]:
    """Before the first update: entropy, divergence from the reference, disagreement of engine and trainer."""
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


def check_engine(measured: dict[str, float], config: GrpoSection, step: int) -> None:
    """
    Raises:
        TrainingDiverged: if engine and trainer differ too much about the sampled tokens' log-probabilities.
    """
    for name, limit in (
        ("mismatch_mean", config.mismatch_mean_limit),
        ("mismatch_max", config.mismatch_max_limit),
    ):
        if not measured.get(name, 0.0) <= limit:  # written so that nan counts as too much
            raise TrainingDiverged(
                f"GRPO step {step + 1}: {name} = {measured[name]:.3g} nats is above grpo.{name}_limit = "
                f"{limit}: engine and trainer compute different probabilities for the tokens that were "
                "sampled, so the gradient would be of another policy. Likely causes: half precision (raise "
                "the limit), a model whose cached and uncached forward passes differ, or weights that the "
                "engine did not take over"
            )


def check_loss(loss: float, ratios: PolicyMetrics, config: GrpoSection, step: int, first: bool) -> None:
    """
    Raises:
        TrainingDiverged: if the loss is not finite, or the ratio before the batch's first update is not
            exactly 1.
    """
    if first and ratios.ratio_max_deviation != 0.0:
        raise TrainingDiverged(
            f"GRPO step {step + 1}: before the first update the ratio of new to old policy is off 1 by "
            f"{ratios.ratio_max_deviation:.3g}, though both are the same: the model's forward pass does not "
            "repeat itself. Likely causes: dropout or another random layer that evaluation mode leaves on, "
            "or operators that are not deterministic"
        )
    if not np.isfinite(loss):
        raise TrainingDiverged(
            f"GRPO step {step + 1}: the loss is {loss}; the weights have most likely grown without bound: "
            f"lower grpo.learning_rate = {config.learning_rate} or lengthen grpo.warmup_steps, and resume "
            "from the last checkpoint"
        )


def summarise_updates(updates: Sequence[Update]) -> dict[str, float]:
    """Loss and gradient norm: means over the updates. Ratios and clip fractions: over all their tokens. Empty
    if every group was flat, since there was no update then."""
    if not updates:
        return {}
    ratios = sum((update.ratios for update in updates), PolicyMetrics())
    return {
        "loss": float(np.mean([update.loss for update in updates])),
        "grad_norm": float(np.mean([update.grad_norm for update in updates])),
        **ratios.means(),
    }


def completion_tokens(episodes: Sequence[Episode]) -> int:
    return sum(len(turn.completion_ids) for episode in episodes for turn in episode.turns)


def store(episodes: Sequence[Episode], run: Path, step: int) -> None:
    path = run / "episodes" / f"train-{step:06d}.parquet"
    with disk_errors(path):
        write_episodes(path, episodes)
