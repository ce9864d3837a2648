"""GRPO: play groups of episodes that share a start; make likelier what earned more than its group's mean.

`train_grpo` is the whole algorithm, top to bottom. Everything it calls is in this file or one hop away:
groups in `batches.groups`, credit in `advantages`, the data of an update in `batches.minibatch`, the loss in
`losses.policy`.
"""

import math
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ludus.agents.engines.fingerprint import weights_fingerprint
from ludus.agents.episode import Episode
from ludus.agents.games import PlayedGame
from ludus.agents.models import LoadedModel, tokenizer_key
from ludus.agents.rollout import EpisodeStart
from ludus.agents.store import write_episodes
from ludus.trainers.advantages.anchor import anchor_note
from ludus.trainers.advantages.process import Process
from ludus.trainers.advantages.role import baselines
from ludus.trainers.batches.groups import Group, make_groups
from ludus.trainers.batches.minibatch import (
    Minibatch,
    make_minibatches,
    minibatch_metrics,
    scored_by_update,
    split_groups,
)
from ludus.trainers.checks.drift import drift_readings, scorer_readings
from ludus.trainers.checks.faults import fault_readings
from ludus.trainers.checks.finite import SKIPPED, skipped_before
from ludus.trainers.checks.identity import (
    Unchanging,
    cursor_reading,
    engine_readings,
    update_reading,
    vocabulary_reading,
)
from ludus.trainers.checks.numerics import (
    finite_readings,
    ratio_readings,
    score_readings,
    spike_reading,
    value_reading,
    weight_readings,
)
from ludus.trainers.checks.reward_fall import reward_fall
from ludus.trainers.checks.samples import sample_readings
from ludus.trainers.checks.tokens import token_readings
from ludus.trainers.checks.trust import Reading, Readings, Trust
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.critic import Critic
from ludus.trainers.curriculum import comparable, level_chances
from ludus.trainers.disk import disk_errors
from ludus.trainers.errors import RunError
from ludus.trainers.games import game_metrics, game_player
from ludus.trainers.listener import Listener
from ludus.trainers.losses.divergence import divergence_loss
from ludus.trainers.losses.policy import PolicyMetrics, policy_loss
from ludus.trainers.losses.value import value_loss, value_metrics
from ludus.trainers.metrics import completion_tokens, environment_metrics, episode_metrics
from ludus.trainers.models.forward import score
from ludus.trainers.models.optimizer import build_optimizer, clip_gradients, learning_rate, take_step
from ludus.trainers.parallel.member import Member
from ludus.trainers.parallel.play import EngineState
from ludus.trainers.parallel.play import play as play_jobs
from ludus.trainers.parallel.team import Team, deal
from ludus.trainers.phase import TrainingPhase
from ludus.trainers.rating import Rater
from ludus.trainers.replay.record import STEP, TOKENIZER, recorded
from ludus.trainers.run.directory import step_file
from ludus.trainers.run.league import League
from ludus.trainers.schedules import at_step, coefficient_metrics
from ludus.trainers.scorers import Scorers
from ludus.trainers.tasks import TaskStream
from ludus.trainers.teachers.lesson import Teacher
from ludus.trainers.validation import Validation, is_out_of_patience

Play = Callable[[int, int], list[Episode]]
"""Plays as many groups as the first argument says, numbered from the second on."""


def train_grpo(
    team: Team,
    policy: LoadedModel,
    reference: Callable[[int], PreTrainedModel],
    config: RunConfig,
    run: Path,
    tasks: TaskStream,
    listener: Listener,
    validation: Validation,
    process: Process | None = None,
    critic: Critic | None = None,
    league: League | None = None,
    scorers: Scorers | None = None,
    teacher: Teacher | None = None,
) -> None:
    """Train `policy.model`, which the team has loaded, in place on the rewards of episodes that it plays.

    Args:
        reference: What divergence is measured from at a step; called in every step in which
            `kl_coefficient` is not 0.
        validation: What is measured every few steps, where `config.validation` says so.
        process: What scores the steps of replies.
        critic: The value model, for credit by gae; trained beside the policy.
        league: With `config.opponents`, where its past checkpoints are.
        scorers: With `config.scorers`, the models that score episodes.
        teacher: For credit by teacher.

    Raises:
        TrainingDiverged: if a check of the numbers failed; see `checks`.
        RunError: if every episode of a step faulted, or the disk is full.
        KeyboardInterrupt: after Ctrl-C, once the training state is saved.
    """
    grpo, model = config.grpo, policy.model
    optimizer = build_optimizer(model, grpo, config.model.masters)
    others = {} if critic is None else {"critic": (critic.model, critic.optimizer)}
    with TrainingPhase(
        run, "grpo", grpo.steps, model, optimizer, tasks, config.checkpoint, listener, others
    ) as phase:
        words, size = tokenizer_key(policy.tokenizer), model.get_input_embeddings().num_embeddings
        trust = Trust(run, config.trust, phase.history, listener.note, words, size)
        unchanging = Unchanging(policy, trust.tokenizer)
        weights = fingerprint(model)
        rater = None if league is None else Rater(team, tasks.mixture, config)
        for step in phase.steps():
            if is_out_of_patience(phase.history, config.validation):
                listener.note(f"GRPO ends after step {step}: {config.validation.best_metric} rises no more")
                break
            trust.begin(step)
            trust.check({**cursor_reading(phase.history, step, tasks), **unchanging.readings()})

            # Play groups of episodes, each group from one start.
            began = time.perf_counter()
            engines: list[EngineState] = []
            games: list[PlayedGame] = []
            chances = level_chances(tasks.mixture, phase.history)
            members: dict[str, Path] = {}
            if league is None:
                play = group_player(team, tasks, chances, config, step, engines)
            else:
                members = league.at(step)
                play = game_player(team, tasks, chances, config, step, phase.history, members, engines, games)
            if scorers is not None:
                play = scorers.scoring(play, step)
            episodes, groups = sample_groups(play, config, process, baselines(phase.history))
            trained_on = [group for group in groups if not (grpo.dynamic_sampling and group.is_flat)]
            trust.before_stop = partial(store, episodes, run, step + 1, trust.tokenizer)
            trust.check(engine_readings(engines, weights))
            trust.check({**fault_readings(episodes), **sample_readings(episodes, tasks)})
            played = time.perf_counter()

            # Score their tokens under the policy that sampled them, and give each the credit it earned.
            now = at_step(config, step, phase.history)
            parts = split_groups(trained_on, grpo.updates_per_batch)
            near = reference(step) if now.grpo.kl_coefficient else None
            trust.check(unchanging.reference_reading(near))
            trust.check(vocabulary_reading(policy, near, critic, episodes))
            minibatches = make_minibatches(
                parts, model, near, now, critic, not scored_by_update(now), teacher
            )
            only: Update | None = None
            if scored_by_update(now):
                only = team_gradients(team, minibatches[0], now)
                trust.check(repeat(minibatches[0], model, only, config.rollout.temperature))
                minibatches = [minibatches[0].scored_by(only.logprobs_S, only.entropy_S)]
            measured = {**minibatch_metrics(minibatches, config), **value_metrics(minibatches)}
            trust.check(token_readings(parts, minibatches))
            trust.check(score_readings(measured, parts, minibatches))

            # One optimiser step on each minibatch that has a gradient.
            # Where only the value model learns at first, the policy's warm-up begins after it.
            lead = 0 if critic is None else critic.config.lead_steps
            learns = step >= lead
            rate = learning_rate(grpo, step - lead, grpo.steps - lead) if learns else 0.0
            updates: list[Update] = []
            skipped = skipped_before(phase.history)
            for minibatch in minibatches * grpo.epochs_per_batch:
                if minibatch.micro_batches:
                    update = only or team_gradients(team, minibatch, now, critic, learns)
                    if not any(earlier.is_finite for earlier in updates):
                        trust.check(first_ratio(update.ratios.ratio_max_deviation))
                    trust.check(ratio_readings(minibatch, update.logprobs_S, update.ratios))
                    update = replace(
                        update,
                        grad_norm=clip_gradients(optimizer, grpo.max_grad_norm),
                        value_grad_norm=0.0 if critic is None else critic.clip(),
                    )
                    trust.check(finite_losses(update))
                    updates.append(update)
                    skipped = 0 if update.is_finite else skipped + 1
                    if skipped > grpo.max_skipped:
                        trust.check(finite_norms(update))
                    if skipped:
                        optimizer.zero_grad()
                        if critic is not None:
                            critic.optimizer.zero_grad()
                        continue
                    trust.check(spike_reading(update.grad_norm, phase.history))
                    phase.updating()
                    if critic is not None:
                        critic.take_step(step, grpo.steps)
                    if learns:
                        take_step(optimizer, rate)
                        before, weights = weights, fingerprint(model)
                        trust.check(update_reading(before, weights, update.grad_norm, rate))
                        trust.check(weight_readings(model))
            trained = time.perf_counter()

            # Record.
            is_due = trust.warned or step in (0, grpo.steps - 1) or (step + 1) % grpo.store_every == 0
            metrics = {
                **episode_metrics(episodes, groups),
                **environment_metrics(tasks.mixture, groups),
                **game_metrics(games, groups),
                **sampling_metrics(episodes, trained_on, grpo),
                **({} if scorers is None else scorers.metrics()),
                **measured,
                **update_metrics(updates, critic is not None),
                **({SKIPPED: float(skipped)} if skipped else {}),
                **coefficient_metrics(grpo, now.grpo),
                "learning_rate": rate,
                "position": tasks.position,
                "tokens_per_second": completion_tokens(episodes) / (trained - began),
                "seconds/rollout": played - began - (0.0 if scorers is None else scorers.seconds),
                "seconds/train": trained - played,
                "seconds/total": trained - began,
            }
            if note := anchor_note(episodes, metrics, phase.history):
                listener.note(f"GRPO step {step + 1}: {note}")
            course = [*phase.history, metrics]
            trust.take({**drift_readings(course, grpo), **scorer_readings(course, config.scorers)})
            if league is None:  # what is earned against others says nothing of what was earned before
                trust.take(reward_fall(comparable(course)))
            if critic is not None:
                trust.take(value_reading(course, critic.config.lead_steps))
            # What an alarm stored of the step, when it was first taken, lacks what was computed.
            if is_due or trust.is_ringing or step_file(run, step + 1).exists():
                kept = recorded(episodes, groups, parts, minibatches, updates)
                store(kept, run, step + 1, trust.tokenizer)
            rated = {} if rater is None else rater.measure(step, members)
            validated = validation.measure(step, phase.history)
            phase.finish(step, {**metrics, **trust.taken, **rated, **validated})
            trust.write()
            trust.ring()


def group_player(
    team: Team,
    tasks: TaskStream,
    chances: Mapping[str, Sequence[float]],
    config: RunConfig,
    step: int,
    engines: list[EngineState],
) -> Play:
    """Plays the next tasks, `group_size` episodes from each.

    Args:
        chances: Of each environment's levels; see `level_chances`.
        engines: Gets what they were sampled with.
    """

    def play(groups: int, first_group: int) -> list[Episode]:
        jobs = [
            (task.spec, EpisodeStart(task.seed, group=first_group + index, sample=sample))
            for index, task in enumerate(tasks.take(groups, chances, step, first_group))
            for sample in range(config.grpo.group_size)
        ]
        played = play_jobs(team, jobs, config.rollout.temperature)
        engines.extend(played.engines)
        return played.episodes

    return play


def sample_groups(
    play: Play,
    config: RunConfig,
    process: Process | None = None,
    earned_before: Mapping[str, float] = {},
) -> tuple[list[Episode], list[Group]]:
    """Play a step's groups. With dynamic sampling (DAPO, arXiv:2503.14476, section 3.2), flat groups are
    replaced by newly played ones, at most `max_resamples` times.

    Args:
        earned_before: What each role earned in the steps before.

    Returns:
        All episodes played, and the groups.

    Raises:
        RunError: if there was no episode, all faulted, or not a single token was sampled.
    """
    grpo = config.grpo
    episodes = play(grpo.groups, 0)
    if not episodes:
        raise RunError(
            "in no game of a step did the policy come to move: its opponents had lost by errors before; "
            "begin a new run that primes for longer (sft.steps)"
        )
    groups = make_groups(episodes, config, process, earned_before)
    for _ in range(grpo.max_resamples if grpo.dynamic_sampling else 0):
        missing = grpo.groups - sum(not group.is_flat for group in groups)
        if not missing:
            break
        more = play(missing, 1 + max(episode.group for episode in episodes))
        episodes, groups = [*episodes, *more], [*groups, *make_groups(more, config, process, earned_before)]
    if not any(episode.is_scored for episode in episodes):
        raise RunError(
            f"all {len(episodes)} episodes of a step faulted, the first with: {episodes[0].fault}; there is "
            "nothing to train on. Fix what broke and continue with --resume"
        )
    if not completion_tokens(episodes):
        raise RunError(
            f"no token was sampled in {len(episodes)} episodes, the first of which ended by "
            f"{episodes[0].stop.value}: the prompt alone leaves no room; raise rollout.max_episode_tokens = "
            f"{config.rollout.max_episode_tokens}, or take a model with a longer context"
        )
    return episodes, groups


def sampling_metrics(
    episodes: Sequence[Episode], trained_on: Sequence[Group], config: GrpoSection
) -> dict[str, float]:
    """With dynamic sampling: how many groups were played in the place of flat ones, and how many are missing
    still."""
    if not config.dynamic_sampling:
        return {}
    played = len({episode.group for episode in episodes})
    return {
        "resampled_groups": float(played - config.groups),
        "missing_groups": float(max(0, config.groups - len(trained_on))),
    }


@dataclass(frozen=True)
class Update:
    """The metrics of one optimiser step."""

    loss: float
    ratios: PolicyMetrics
    logprobs_S: Tensor
    """Before it; in the minibatch's order, on the CPU."""
    entropy_S: Tensor
    values_S: Tensor | None = None
    """The value model's; None without one."""
    grad_norm: float = 0.0
    """0 where the policy did not learn."""
    value_loss: float = 0.0
    value_grad_norm: float = 0.0
    divergence_S: Tensor | None = None
    """From the teacher; None where it is not descended."""

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.grad_norm) and math.isfinite(self.value_grad_norm)

    def __add__(self, other: "Update") -> "Update":
        """Of two parts of a minibatch."""
        return Update(
            self.loss + other.loss,
            self.ratios + other.ratios,
            self.logprobs_S + other.logprobs_S,
            self.entropy_S + other.entropy_S,
            value_loss=self.value_loss + other.value_loss,
            divergence_S=(
                None
                if self.divergence_S is None or other.divergence_S is None
                else self.divergence_S + other.divergence_S
            ),
        )


def team_gradients(
    team: Team, minibatch: Minibatch, config: RunConfig, critic: Critic | None = None, learns: bool = True
) -> Update:
    """`accumulate_gradients`, with the micro-batches dealt out among the team."""
    if team.size == 1 or not minibatch.micro_batches:
        return accumulate_gradients(
            minibatch, team.model, config.grpo, config.rollout.temperature, critic, learns
        )
    sizes = [micro.tokens for micro in minibatch.micro_batches]
    parts = [
        (replace(minibatch, micro_batches=[minibatch.micro_batches[item] for item in items]), config)
        for items in deal(sizes, team.size)
    ]
    update = reduce(operator.add, team.map(_part_of_gradients, parts))
    team.add_gradients(len(parts))
    return update


def _part_of_gradients(member: Member, part: tuple[Minibatch, RunConfig]) -> Update:
    minibatch, config = part
    return accumulate_gradients(minibatch, member.policy.model, config.grpo, config.rollout.temperature)


def accumulate_gradients(
    minibatch: Minibatch,
    model: PreTrainedModel,
    config: GrpoSection,
    temperature: float,
    critic: Critic | None = None,
    learns: bool = True,
) -> Update:
    """Add the gradients of a minibatch's loss to the model's, and those of the value loss to the critic's.
    They do not depend on how it is cut into micro-batches. Nothing waits for the GPU before the last
    micro-batch.

    Args:
        learns: Whether the policy gets gradients; without them its loss is only measured.
    """
    losses, value_losses, metrics = [], [], []
    logprobs_S, entropy_S, values_S, divergence_S = torch.zeros(
        4, len(minibatch.weights_S), device=model.device
    )
    likeliest = None if minibatch.lesson is None else minibatch.lesson.likeliest
    for micro in minibatch.micro_batches:
        with torch.set_grad_enabled(learns):
            scored = score(model, micro, temperature, entropy_gradient=config.entropy_coefficient > 0)
            loss, measured = policy_loss(config, minibatch, micro, scored.logprobs, scored.entropy)
        logprobs_S[micro.token_N.to(model.device)] = scored.logprobs.detach().float()
        entropy_S[micro.token_N.to(model.device)] = scored.entropy.detach().float()
        if likeliest is not None:
            apart, divergence_N = divergence_loss(
                likeliest, minibatch.weights_S, micro, model, scored.hidden, temperature
            )
            divergence_S[micro.token_N.to(model.device)] = divergence_N.float()
            loss = loss + apart
        losses.append(loss.detach())
        metrics.append(measured)
        if critic is not None:
            values_N = critic.model.values(micro, scored.hidden)
            values_S[micro.token_N.to(model.device)] = values_N.detach().float()
            error = value_loss(critic.config.value_clip, minibatch, micro, values_N)
            value_losses.append(error.detach())
            loss = loss + error
        loss.backward()
    return Update(
        sum(loss.item() for loss in losses),
        sum(map(PolicyMetrics.read, metrics), PolicyMetrics()),
        logprobs_S.cpu(),
        entropy_S.cpu(),
        None if critic is None else values_S.cpu(),
        value_loss=sum(loss.item() for loss in value_losses),
        divergence_S=None if likeliest is None else divergence_S.cpu(),
    )


def repeat(minibatch: Minibatch, model: PreTrainedModel, update: Update, temperature: float) -> Readings:
    """What an update computed of its smallest micro-batch, against what the model, which has not changed
    since, computes of it now."""
    micro = min(minibatch.micro_batches, key=lambda micro: micro.tokens, default=None)
    if micro is None:
        return {}
    with torch.no_grad():
        again_N = score(model, micro, temperature).logprobs.cpu()
    return first_ratio((again_N - update.logprobs_S[micro.token_N]).exp().sub(1).abs().max().item())


def first_ratio(deviation: float) -> Readings:
    """
    Args:
        deviation: The largest |ratio - 1| of any token, before the batch's first update.
    """
    return {"first_ratio": Reading(deviation)}


def finite_losses(update: Update) -> Readings:
    return finite_readings({"the loss": update.loss, "the value loss": update.value_loss})


def finite_norms(update: Update) -> Readings:
    return finite_readings({"the norm": update.grad_norm, "the value norm": update.value_grad_norm})


def fingerprint(model: PreTrainedModel) -> int:
    return weights_fingerprint(model.named_parameters())


def update_metrics(updates: Sequence[Update], has_critic: bool = False) -> dict[str, float]:
    """Losses and gradient norms are means over the updates; ratios and clip fractions are over all their
    tokens. Those that were skipped count, but have no norm. Empty if every group was flat, since there was no
    update then."""
    if not updates:
        return {}
    metrics = {
        "loss": fmean(update.loss for update in updates),
        **sum((update.ratios for update in updates), PolicyMetrics()).means(),
    }
    if divergences := [update.divergence_S for update in updates if update.divergence_S is not None]:
        metrics["teacher/divergence"] = torch.cat(divergences).double().mean().item()
    if has_critic:
        metrics["critic/loss"] = fmean(update.value_loss for update in updates)
    if taken := [update for update in updates if update.is_finite]:
        metrics["grad_norm"] = fmean(update.grad_norm for update in taken)
        if has_critic:
            metrics["critic/grad_norm"] = fmean(update.value_grad_norm for update in taken)
    return metrics


def store(episodes: Sequence[Episode], run: Path, step: int, tokenizer: str) -> None:
    """Store a step's episodes.

    Args:
        tokenizer: The key of the one that their ids are of.
    """
    path = step_file(run, step)
    with disk_errors(path):
        write_episodes(path, episodes, {STEP: str(step), TOKENIZER: tokenizer})
