"""A teacher in this process: any model of the policy's vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from ludus.agents.episode import TrainingSequence
from ludus.trainers.batches.packing import MicroBatch, even_budget, pack, sampled_counts
from ludus.trainers.config.distillation import DistillationSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.losses.divergence import likeliest_ids
from ludus.trainers.models.forward import packs, score
from ludus.trainers.teachers.lesson import Lesson, Likeliest


@dataclass(frozen=True)
class LocalTeacher:
    """Its numbers are computed as the policy's are, in micro-batches made in the same way: the same weights
    give the same bits."""

    model: PreTrainedModel
    section: DistillationSection
    config: RunConfig
    words: int
    """Of the policy's vocabulary."""

    def lesson(self, rows: Sequence[TrainingSequence]) -> Lesson:
        budget, workers, shares = (
            self.config.grpo.microbatch_tokens,
            self.config.run.workers,
            packs(self.model),
        )
        micro_batches = pack(rows, even_budget(rows, budget, workers, shares), shares)
        return self.lesson_on(micro_batches, int(sampled_counts(rows).sum()))

    @torch.no_grad()
    def lesson_on(self, micro_batches: Sequence[MicroBatch], tokens: int) -> Lesson:
        """
        Args:
            tokens: How many are sampled in all.
        """
        count, temperature = min(self.section.top_k, self.words), self.config.rollout.temperature
        logprobs_S = torch.zeros(tokens)
        ids_SK = torch.zeros(tokens, count, dtype=torch.int32)
        logprobs_SC = torch.zeros(tokens, count + (count < self.words))
        for micro in micro_batches:
            scored = score(self.model, micro, temperature)
            logprobs_S[micro.token_N] = scored.logprobs.cpu()
            if count:
                hidden_NH = scored.hidden[micro.prediction_N.to(scored.hidden.device)]
                ids_NK, logprobs_NC = likeliest_ids(self.model, hidden_NH, count, self.words, temperature)
                ids_SK[micro.token_N], logprobs_SC[micro.token_N] = ids_NK.cpu(), logprobs_NC.cpu()
        if not count:
            return Lesson(logprobs_S)
        return Lesson(logprobs_S, Likeliest(ids_SK, logprobs_SC, self.words, self.section.beta))
