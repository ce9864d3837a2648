"""What the models say of a batch's tokens.

Suffixes as in `minibatch`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ludus.agents.episode import TrainingSequence
from ludus.trainers.batches.layout import Layout
from ludus.trainers.batches.packing import (
    MicroBatch,
    even_budget,
    flat_logprobs,
    pack,
    sampled_counts,
)
from ludus.trainers.config.run import RunConfig
from ludus.trainers.models.forward import packs, score
from ludus.trainers.models.value import ValueModel
from ludus.trainers.teachers.lesson import Lesson, Teacher


@dataclass(frozen=True)
class Scores:
    """What the models say of a layout's tokens: S of the rows that are trained on, A of all rows."""

    trained: Sequence[int]
    """Which rows are trained on."""
    micro_batches: list[MicroBatch]
    """Of these rows."""
    logprobs_S: Tensor | None
    """None: the update scores them."""
    engine_logprobs_S: Tensor
    reference_logprobs_S: Tensor | None
    mismatch_A: Tensor
    """The trainer's log-probability minus the engine's, in nats; of the tokens that are scored here."""
    entropy_A: Tensor
    rest_logprobs: Tensor
    """The trainer's, of the tokens of the other rows."""
    values_S: Tensor | None = None
    lesson: Lesson | None = None
    """The teacher's; None without one."""


def score_layout(
    layout: Layout,
    trained: Sequence[int],
    model: PreTrainedModel,
    reference: PreTrainedModel | None,
    config: RunConfig,
    value_model: ValueModel | None = None,
    before_update: bool = True,
    teacher: Teacher | None = None,
) -> Scores:
    """Score all rows; those that are trained on are packed by themselves, so that the loss computes their
    log-probabilities again in the same micro-batches.

    Args:
        before_update: Whether the rows that are trained on are scored, too, or left to the update.
    """
    budget, temperature = config.grpo.microbatch_tokens, config.rollout.temperature
    rows = [layout.rows[r] for r in trained]
    rest = [layout.rows[r] for r in layout.others(trained)]
    shares = packs(model)
    micro_batches = pack(rows, even_budget(rows, budget, config.run.workers, shares), shares)
    rest_logprobs, entropy_A, _ = score_rows(model, rest, pack(rest, budget, shares), temperature)
    mismatch_A, engines_S = rest_logprobs - flat_logprobs(rest), flat_logprobs(rows)
    logprobs_S = values_S = None
    if before_update:
        logprobs_S, entropy_S, values_S = score_rows(model, rows, micro_batches, temperature, value_model)
        mismatch_A = torch.cat([logprobs_S - engines_S, mismatch_A])
        entropy_A = torch.cat([entropy_S, entropy_A])
    return Scores(
        trained,
        micro_batches,
        logprobs_S,
        engines_S,
        None if reference is None else score_rows(reference, rows, micro_batches, temperature)[0],
        mismatch_A,
        entropy_A,
        rest_logprobs,
        values_S,
        None if teacher is None else teacher.lesson(rows),
    )


@torch.no_grad()
def score_rows(
    model: PreTrainedModel,
    rows: Sequence[TrainingSequence],
    micro_batches: Sequence[MicroBatch],
    temperature: float,
    value_model: ValueModel | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Log-probabilities and entropies of all sampled tokens, and their values if there is a value model; each
    [S] in flat order, on the CPU."""
    logprobs_S = torch.zeros(int(sampled_counts(rows).sum()))
    entropy_S = torch.zeros_like(logprobs_S)
    values_S = None if value_model is None else torch.zeros_like(logprobs_S)
    for micro in micro_batches:
        scored = score(model, micro, temperature)
        logprobs_S[micro.token_N] = scored.logprobs.cpu()
        entropy_S[micro.token_N] = scored.entropy.cpu()
        if value_model is not None and values_S is not None:
            values_S[micro.token_N] = value_model.values(micro, scored.hidden).cpu()
    return logprobs_S, entropy_S, values_S
