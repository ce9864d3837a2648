"""DPO and IPO: make the chosen of two replies likelier than the rejected one, measured from a reference.

`train_preferences` is the whole algorithm. Pairs are a user's, cut once into batches whose reference
log-probabilities are computed once and stored; or each step's, from groups of episodes that it plays.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ludus.agents.episode import Episode
from ludus.agents.models import LoadedModel
from ludus.tools.checksums import is_damaged, sealed
from ludus.trainers.algorithms.rft import play_groups
from ludus.trainers.algorithms.sft import batch_indices
from ludus.trainers.batches.pairs import Pair, PairBatch, Side, pack_pairs
from ludus.trainers.checks.finite import check_loss, norm_metrics
from ludus.trainers.config.preferences import PreferencesSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.curriculum import all_levels
from ludus.trainers.data.group_pairs import contrasts, judge_by
from ludus.trainers.data.preferences import PreferenceData
from ludus.trainers.disk import write_file
from ludus.trainers.errors import RunError, TrainingDiverged
from ludus.trainers.listener import Listener
from ludus.trainers.losses.preference import batch_loss, preference_metrics
from ludus.trainers.metrics import completion_tokens
from ludus.trainers.models.forward import packs, score
from ludus.trainers.models.optimizer import apply_gradients, build_optimizer, learning_rate
from ludus.trainers.parallel.member import Member
from ludus.trainers.parallel.team import Team, deal
from ludus.trainers.phase import TrainingPhase
from ludus.trainers.tasks import TaskStream


@dataclass(frozen=True)
class Compared:
    """Pairs of a step, packed, and what the reference says of them."""

    batches: list[PairBatch]
    reference: list[Tensor]
    """Of each batch [P, 2]: log-probabilities of whole sides, float64."""

    @property
    def pairs(self) -> int:
        return sum(len(batch.pairs) for batch in self.batches)

    @property
    def tokens_P2(self) -> Tensor:
        return torch.cat([batch.tokens_P2 for batch in self.batches])


def train_preferences(
    team: Team,
    policy: LoadedModel,
    source: "Stored | Fresh",
    config: RunConfig,
    run: Path,
    tasks: TaskStream,
    listener: Listener,
) -> None:
    """Train `policy.model`, which the team has loaded, in place on pairs.

    Args:
        source: Where a step's pairs come from.

    Raises:
        TrainingDiverged: if the loss is not finite, or the policy does not begin as the reference.
        RunError: if too many episodes of a step faulted, or the disk is full.
        KeyboardInterrupt: after Ctrl-C, once the training state is saved.
    """
    section, model = config.preferences, policy.model
    optimizer = build_optimizer(model, section, config.model.masters)
    with TrainingPhase(
        run, "preferences", section.steps, model, optimizer, tasks, config.checkpoint, listener
    ) as phase:
        for step in phase.steps():
            began = time.perf_counter()
            compared, measured = source.at(step)
            played = time.perf_counter()
            rate = learning_rate(section, step, section.steps)
            metrics = {**measured, "learning_rate": rate}
            if compared.batches:
                logprobs_P2 = team_gradients(team, compared, section)
                reference_P2 = torch.cat(compared.reference)
                if not step:
                    require_same(logprobs_P2, reference_P2)
                metrics |= preference_metrics(section, logprobs_P2, reference_P2, compared.tokens_P2)
                check_loss(metrics["loss"], section, "preferences", step)
                norm = apply_gradients(optimizer, rate, section.max_grad_norm)
                metrics |= norm_metrics(norm, phase.history, section, "preferences", step)
                metrics["pairs"] = float(compared.pairs)
            ended = time.perf_counter()
            if section.is_online:
                metrics |= {"seconds/rollout": played - began, "seconds/train": ended - played}
            metrics["tokens_per_second"] = sum(batch.micro.tokens for batch in compared.batches) / (
                ended - played
            )
            metrics["seconds/total"] = ended - began
            phase.finish(step, {**metrics, **source.held_out(step)})


def team_gradients(team: Team, compared: Compared, section: PreferencesSection) -> Tensor:
    """Add the gradients of the pairs' loss to the model's.

    Returns:
        The policy's log-probabilities of whole sides, [P, 2], float64, in the order of the batches.
    """
    of_all = (section, compared.pairs, int(compared.tokens_P2[:, 0].sum()))
    pieces = [*zip(compared.batches, compared.reference, strict=True)]
    dealt = deal([batch.micro.tokens for batch in compared.batches], team.size)
    parts = [([pieces[item] for item in items], *of_all) for items in dealt]
    scored = team.map(accumulate_gradients, parts)
    team.add_gradients(len(parts))
    return torch.cat(_in_order(dealt, scored))


def accumulate_gradients(
    member: Member, part: tuple[Sequence[tuple[PairBatch, Tensor]], PreferencesSection, int, int]
) -> list[Tensor]:
    """Add the gradients of a member's pairs to its model's.

    Args:
        part: They, each with the reference's log-probabilities; the section; the pairs of the whole batch,
            and the scored tokens of its chosen sides.

    Returns:
        The policy's log-probabilities, as `log_probabilities`.
    """
    pieces, section, pairs, chosen_tokens = part
    found = []
    for batch, reference_P2 in pieces:
        logprobs_P2 = batch.side_sums(score(member.policy.model, batch.micro, 1.0).logprobs)
        device = logprobs_P2.device
        batch_loss(
            section, logprobs_P2, reference_P2.to(device), batch.tokens_P2.to(device), pairs, chosen_tokens
        ).backward()
        found.append(logprobs_P2.detach().cpu())
    return found


@torch.no_grad()
def log_probabilities(model: PreTrainedModel, batches: Sequence[PairBatch]) -> list[Tensor]:
    """Of each batch the log-probabilities of whole sides, [P, 2], float64, on the CPU: bit by bit what
    `accumulate_gradients` computes with the same weights."""
    return [batch.side_sums(score(model, batch.micro, 1.0).logprobs).cpu() for batch in batches]


def _part_of_log_probabilities(member: Member, batches: Sequence[PairBatch]) -> list[Tensor]:
    return log_probabilities(member.policy.model, batches)


def team_log_probabilities(team: Team, batches: Sequence[PairBatch]) -> list[Tensor]:
    """`log_probabilities` of the team's model, dealt out as `team_gradients` deals."""
    dealt = deal([batch.micro.tokens for batch in batches], team.size)
    scored = team.map(_part_of_log_probabilities, [[batches[item] for item in items] for items in dealt])
    return _in_order(dealt, scored)


def _in_order(dealt: Sequence[Sequence[int]], scored: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """What the members found, in the order of the items that were dealt."""
    found = {
        item: value
        for items, values in zip(dealt, scored, strict=True)
        for item, value in zip(items, values, strict=True)
    }
    return [found[item] for item in sorted(found)]


def require_same(logprobs_P2: Tensor, reference_P2: Tensor) -> None:
    """
    Raises:
        TrainingDiverged: if the policy's log-probabilities before the first update are not, bit by bit, those
            of the reference that it begins as.
    """
    if not torch.equal(logprobs_P2, reference_P2):
        raise TrainingDiverged(
            "preferences step 1: before any update the policy's log-probabilities differ from the "
            f"reference's by up to {(logprobs_P2 - reference_P2).abs().max().item():.3g} nats, though they "
            "are the same model: the device's operators are not deterministic, or the file of the reference "
            "is another run's; begin a new run"
        )


class Stored:
    """A user's pairs, in batches that are cut once, so that a pair is always computed beside the same others
    and the reference's log-probabilities of it are, bit by bit, what the policy begins with.

    Args:
        team: With the model that training begins with, which is the reference.
        file: Where the reference's log-probabilities are kept.

    Raises:
        RunError: if the file is damaged, or the disk is full.
    """

    def __init__(self, team: Team, data: PreferenceData, config: RunConfig, file: Path) -> None:
        self._team, self._section, self._seed = team, config.preferences, config.run.seed
        self._train, self._heldout = data.train, data.heldout
        self._cut, self._heldout_cut = (
            cut(len(pairs), self._section.batch_pairs, self._seed) for pairs in (data.train, data.heldout)
        )
        if not file.exists():
            found = {
                "train": self._log_probabilities(self._train, self._cut).tolist(),
                "heldout": self._log_probabilities(self._heldout, self._heldout_cut).tolist(),
            }
            write_file(file, json.dumps(sealed(found)))
        kept = _read(file)
        self._reference, self._heldout_reference = (
            torch.tensor(kept[name], dtype=torch.float64) for name in ("train", "heldout")
        )

    def at(self, step: int) -> tuple[Compared, Mapping[str, float]]:
        """The pairs of a step, counted from 0."""
        (place,) = batch_indices(self._seed, step, 1, len(self._cut))
        which = self._cut[place]
        packed = self._packed(self._train, which)
        reference = [self._reference[[which[index] for index in batch.pairs]] for batch in packed]
        return Compared(packed, reference), {}

    def held_out(self, step: int) -> Mapping[str, float]:
        """Loss and accuracy on the held-out pairs, where they are due after a step."""
        section, done = self._section, step + 1
        if not self._heldout_cut or (done % section.heldout_every and done != section.steps):
            return {}
        logprobs_P2 = self._log_probabilities(self._heldout, self._heldout_cut)
        tokens = [[sum(sum(row.sampled) for row in side) for side in pair] for pair in self._heldout]
        tokens_P2 = torch.tensor(tokens, dtype=torch.float64)
        found = preference_metrics(section, logprobs_P2, self._heldout_reference, tokens_P2)
        return {f"heldout_{name}": found[name] for name in ("loss", "accuracy")}

    def _log_probabilities(self, pairs: Sequence[Pair], batches: Sequence[Sequence[int]]) -> Tensor:
        """The team's model's, of each pair's sides, [P, 2]."""
        found = torch.zeros(len(pairs), 2, dtype=torch.float64)
        for which in batches:
            packed = self._packed(pairs, which)
            for batch, logprobs_P2 in zip(packed, team_log_probabilities(self._team, packed), strict=True):
                found[[which[index] for index in batch.pairs]] = logprobs_P2
        return found

    def _packed(self, pairs: Sequence[Pair], which: Sequence[int]) -> list[PairBatch]:
        budget, shares = self._section.microbatch_tokens, packs(self._team.model)
        return pack_pairs([pairs[index] for index in which], budget, self._team.size, shares)


def cut(count: int, size: int, seed: int) -> list[list[int]]:
    """Which of `count` pairs make up each batch: all in one, none of more than `size`, of about the same
    size."""
    order = np.random.default_rng((seed, count)).permutation(count)
    return [part.tolist() for part in np.array_split(order, -(-count // size))] if count else []


def _read(file: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        damaged = is_damaged(kept)
    except (ValueError, TypeError):
        damaged = True
    if damaged:
        raise RunError(
            f"{file} is not what the run wrote there: it was edited or damaged; put it back, or begin a new "
            "run"
        )
    return kept


class Fresh:
    """Pairs of a step from episodes that the policy plays in it.

    Args:
        reference: The model that training begins with, beside the policy.
    """

    def __init__(self, team: Team, reference: PreTrainedModel, tasks: TaskStream, config: RunConfig) -> None:
        self._team, self._reference, self._tasks, self._config = team, reference, tasks, config

    def at(self, step: int) -> tuple[Compared, Mapping[str, float]]:
        """The pairs of a step, counted from 0, none if all episodes of each task are judged alike; and what
        was played.

        Raises:
            TrainingDiverged: if too many episodes faulted.
            RunError: if none has a score.
        """
        section, team = self._config.preferences, self._team
        drawn = self._tasks.take(section.tasks, all_levels(self._tasks.mixture), step)
        episodes = play_groups(team, drawn, section.samples, self._config, "preferences", step)
        pairs, groups = pairs_of(episodes, section)
        packed = pack_pairs(pairs, section.microbatch_tokens, team.size, packs(team.model)) if pairs else []
        whole = [episode for episode in episodes if episode.is_scored]
        if not whole:
            raise RunError(
                f"preferences step {step + 1}: all {len(episodes)} episodes faulted, the first with: "
                f"{episodes[0].fault}; fix what broke and continue with --resume"
            )
        measured = {
            "reward": fmean(episode.episode_return for episode in whole),
            "success": fmean(episode.success for episode in whole),
            "fault_share": fmean(episode.is_fault for episode in episodes),
            "sampled_tokens": float(completion_tokens(episodes)),
            "flat_groups": 1 - len(groups) / section.tasks,
            "position": float(self._tasks.position),
        }
        return Compared(packed, log_probabilities(self._reference, packed)), measured

    def held_out(self, step: int) -> Mapping[str, float]:
        """Nothing: no pair is there twice."""
        return {}


def pairs_of(episodes: Sequence[Episode], section: PreferencesSection) -> tuple[list[Pair], set[int]]:
    """The pairs of a step's groups as rows of tokens, and the groups that gave one."""
    groups: dict[int, list[Episode]] = {}
    for episode in episodes:
        if episode.is_scored and any(turn.completion_ids for turn in episode.turns):
            groups.setdefault(episode.group, []).append(episode)
    found = [
        pair
        for group in groups.values()
        for pair in contrasts(group, judge_by(section.by), section.most, section.least_margin)
    ]
    pairs = [(_rows(pair.chosen), _rows(pair.rejected)) for pair in found]
    return pairs, {pair.chosen.group for pair in found}


def _rows(episode: Episode) -> Side:
    """To become likelier, or less likely, among all ids, whichever each was drawn among."""
    return [replace(row, kept=None) for row in episode.training_sequences()]
