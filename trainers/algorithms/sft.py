"""Supervised fine-tuning: the negative log-likelihood of the replies' tokens, and of no others."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ludus.agents.episode import Episode, TrainingSequence
from ludus.agents.formats.base import ChatFormat
from ludus.agents.models import LoadedModel
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
            loss, tokens = team_gradients(team, batch, sft.microbatch_tokens)
            check_loss(loss, sft, "sft", step)
            rate = learning_rate(sft, step, steps)
            norm = apply_gradients(optimizer, rate, sft.max_grad_norm)
            seconds = time.perf_counter() - began
            metrics = {
                "loss": loss,
                **norm_metrics(norm, phase.history, sft, "sft", step),
                "learning_rate": rate,
                "tokens_per_second": tokens / seconds,
                "seconds/total": seconds,
            }
            if heldout and ((step + 1) % sft.heldout_every == 0 or step + 1 == steps):
                metrics["heldout_loss"] = mean_loss(policy, heldout, sft.microbatch_tokens)
            phase.finish(step, metrics)


def team_gradients(
    team: Team, batch: Sequence[TrainingSequence], microbatch_tokens: int
) -> tuple[float, int]:
    """Add the gradients of the batch's mean loss per scored token to the model's.

    Returns:
        The loss in nats per scored token, and the number of tokens that went through the model.
    """
    shares = packs(team.model)
    micro_batches = pack(batch, even_budget(batch, microbatch_tokens, team.size, shares), shares)
    scored = sum(len(micro.token_N) for micro in micro_batches)
    sizes = [micro.tokens for micro in micro_batches]
    parts = [([micro_batches[item] for item in items], scored) for items in deal(sizes, team.size)]
    losses = team.map(accumulate_gradients, parts)
    team.add_gradients(len(parts))
    return sum(losses), sum(sizes)


def accumulate_gradients(member: Member, part: tuple[Sequence[MicroBatch], int]) -> float:
    """Add the gradients of a member's micro-batches to its model's.

    Args:
        part: They, and the number of scored tokens in the whole batch.

    Returns:
        Their part of the batch's mean loss.
    """
    model, (micro_batches, scored), total = member.policy.model, part, 0.0
    for micro in micro_batches:
        loss = -score(model, micro, temperature=1.0).logprobs.sum() / scored
        loss.backward()
        total += loss.item()
    return total


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
