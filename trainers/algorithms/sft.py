"""Supervised fine-tuning: the negative log-likelihood of the replies' tokens and, where that is asked for, of
what the environment said to them."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ludus.agents.episode import Episode, TrainingSequence
from ludus.agents.formats.base import ChatFormat
from ludus.agents.models import LoadedModel
from ludus.agents.picture_ids import FIRST
from ludus.agents.policy import ScriptedPolicy, tool_schemas
from ludus.agents.rendering import render
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout_mixed
from ludus.trainers.batches.packing import MicroBatch, even_budget, pack
from ludus.trainers.checks.finite import check_loss, norm_metrics
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import RunError
from ludus.trainers.listener import Listener
from ludus.trainers.models.forward import packs, score
from ludus.trainers.models.optimizer import apply_gradients, build_optimizer, learning_rate
from ludus.trainers.parallel.member import Member
from ludus.trainers.parallel.team import Team, deal
from ludus.trainers.phase import TrainingPhase
from ludus.trainers.tasks import Task, TaskStream


def fine_tune(
    team: Team,
    policy: LoadedModel,
    demonstrations: Sequence[TrainingSequence],
    heldout: Sequence[TrainingSequence],
    config: RunConfig,
    run: Path,
    tasks: TaskStream,
    listener: Listener,
) -> None:
    """Train `policy.model`, which the team has loaded, in place on `demonstrations` or a user's data,
    measuring the loss on `heldout` along the way.

    Raises:
        TrainingDiverged: if the loss is not finite.
        KeyboardInterrupt: after Ctrl-C, once the training state is saved.
    """
    sft, model = config.sft, policy.model
    steps = sft.steps_over(len(demonstrations))
    optimizer = build_optimizer(model, sft, config.model.masters)
    with TrainingPhase(run, "sft", steps, model, optimizer, tasks, config.checkpoint, listener) as phase:
        for step in phase.steps():
            began = time.perf_counter()
            chosen = batch_indices(config.run.seed, step, sft.batch_episodes, len(demonstrations))
            batch = [demonstrations[i] for i in chosen]
            losses, tokens = team_gradients(team, batch, sft.microbatch_tokens, sft.observations_weight)
            check_loss(losses.replies, sft, "sft", step)
            rate = learning_rate(sft, step, steps)
            norm = apply_gradients(optimizer, rate, sft.max_grad_norm)
            seconds = time.perf_counter() - began
            metrics = {
                "loss": losses.replies,
                **({"loss/observations": losses.observations} if sft.observations_weight else {}),
                **norm_metrics(norm, phase.history, sft, "sft", step),
                "learning_rate": rate,
                "tokens_per_second": tokens / seconds,
                "seconds/total": seconds,
            }
            if heldout and ((step + 1) % sft.heldout_every == 0 or step + 1 == steps):
                metrics["heldout_loss"] = mean_loss(policy, heldout, sft.microbatch_tokens)
            phase.finish(step, metrics)


class Losses(NamedTuple):
    """Means in nats per token."""

    replies: float
    observations: float
    """0 where they are not trained on."""


def team_gradients(
    team: Team, batch: Sequence[TrainingSequence], microbatch_tokens: int, observations_weight: float = 0.0
) -> tuple[Losses, int]:
    """Add the gradients of the batch's loss to the model's.

    Args:
        observations_weight: How much the mean over the tokens of what the environment said to replies counts,
            beside the mean over the replies' own.

    Returns:
        The losses, and the number of tokens that went through the model.
    """
    trained_on = marked(batch, observations_weight)
    is_reply_S = torch.tensor(
        [
            is_reply
            for row, trained in zip(batch, trained_on, strict=True)
            for is_reply, is_marked in zip(row.sampled, trained.sampled, strict=True)
            if is_marked
        ]
    )
    # Of each scored token, the part that it has in the mean of its kind.
    part_2S = torch.stack([is_reply_S, ~is_reply_S]).double()
    part_2S /= part_2S.sum(1, keepdim=True).clamp(min=1)
    shares = packs(team.model)
    micro_batches = pack(trained_on, even_budget(trained_on, microbatch_tokens, team.size, shares), shares)
    weighed = [Weighed(micro, part_2S[:, micro.token_N], observations_weight) for micro in micro_batches]
    sizes = [micro.tokens for micro in micro_batches]
    parts = [[weighed[item] for item in items] for items in deal(sizes, team.size)]
    losses = team.map(accumulate_gradients, parts)
    team.add_gradients(len(parts))
    replies, observations = map(sum, zip(*losses, strict=True))
    return Losses(replies, observations), sum(sizes)


def marked(rows: Sequence[TrainingSequence], observations_weight: float) -> Sequence[TrainingSequence]:
    """The rows, with all tokens marked that are trained on."""
    return [with_observations(row) for row in rows] if observations_weight else rows


def with_observations(row: TrainingSequence) -> TrainingSequence:
    """A row in which what the environment said after the first reply is marked, too; its pictures are not."""
    first = row.sampled.index(True)
    marks = (id < FIRST for id in row.ids[first:])
    return replace(row, sampled=(*row.sampled[:first], *marks))


class Weighed(NamedTuple):
    """A micro-batch, and what each of its N scored tokens counts for."""

    micro: MicroBatch
    part_2N: Tensor
    """Its part in the mean over replies, and in that over observations."""
    observations_weight: float


def accumulate_gradients(member: Member, part: Sequence[Weighed]) -> Losses:
    """Add the gradients of a member's micro-batches to its model's.

    Returns:
        Their part of the batch's losses.
    """
    model, total_2 = member.policy.model, torch.zeros(2, dtype=torch.float64)
    for micro, part_2N, observations_weight in part:
        logprobs_N = score(model, micro, temperature=1.0).logprobs
        losses_2 = -(part_2N.to(logprobs_N) * logprobs_N).sum(1)
        (losses_2[0] + observations_weight * losses_2[1]).backward()
        total_2 += losses_2.detach().cpu()
    return Losses(*total_2.tolist())


@torch.no_grad()
def mean_loss(policy: LoadedModel, rows: Sequence[TrainingSequence], microbatch_tokens: int) -> float:
    """Nats per scored token."""
    micro_batches = pack(rows, microbatch_tokens, packs(policy.model))
    logprobs = [score(policy.model, micro, 1.0).logprobs for micro in micro_batches]
    return -torch.cat(logprobs).mean().item()


def batch_indices(seed: int, step: int, size: int, count: int) -> list[int]:
    """Which of `count` demonstrations make up a step: a pure function, so that a resumed run needs no
    shuffling state.

    Each pass over the demonstrations has an order of its own; a batch may span two passes.
    """
    places = range(step * size, (step + 1) * size)
    orders = {
        epoch: np.random.default_rng((seed, epoch)).permutation(count)
        for epoch in range(places.start // count, places[-1] // count + 1)
    }
    return [int(orders[place // count][place % count]) for place in places]


def demonstrate(
    tasks: Sequence[Task],
    chat_format: ChatFormat,
    config: RunConfig,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[TrainingSequence]:
    """The demonstrator's episodes of `tasks`, as rows in which exactly its own tokens are marked as sampled.

    Raises:
        RunError: if an episode faulted: without it, the training set would be a different one.
    """
    jobs = [(task.spec, EpisodeStart(task.seed)) for task in tasks]
    settings = config.rollout
    episodes = rollout_mixed(
        ScriptedPolicy(config.sft.demonstrator), jobs, settings.limits, settings.concurrency, on_episode
    )
    tools: list[tuple[EnvironmentSpec, list[Any]]] = []
    rows: list[TrainingSequence] = []
    for (spec, _), episode in zip(jobs, episodes, strict=True):
        if not episode.is_scored:
            raise RunError(
                f"{spec.id}: the demonstration of seed {episode.seed} broke off: {episode.fault}; "
                "fix what broke and continue with --resume"
            )
        if spec not in [known for known, _ in tools]:
            with closing(spec.make()) as env:
                tools.append((spec, tool_schemas(env)))
        schemas = next(schemas for known, schemas in tools if known == spec)
        rows += render(episode, chat_format, schemas).training_sequences()
    return rows
