"""What each phase of a run allocates: its own code, run once on models without numbers (`ledger`)."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from transformers.exporters.utils import precompute_export_inputs

from ludus.agents.engines.base import Sampling
from ludus.agents.engines.steps import Batch, Request
from ludus.agents.games import SELF
from ludus.agents.models import LoadedModel, count_words
from ludus.agents.picture_ids import shown_by
from ludus.agents.sight import reader_of
from ludus.trainers.algorithms import grpo, preferences, sft
from ludus.trainers.batches.minibatch import Minibatch
from ludus.trainers.batches.packing import MicroBatch, even_budget, pack, sampled_counts
from ludus.trainers.batches.pairs import Pair, pack_pairs
from ludus.trainers.batches.scoring import score_rows
from ludus.trainers.config.critic import CriticSection
from ludus.trainers.config.opponents import LEAGUE
from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.critic import Critic
from ludus.trainers.models.head import decoder
from ludus.trainers.models.optimizer import Optimizer, build_optimizer, clip_gradients, take_step
from ludus.trainers.models.precision import gradient_dtype
from ludus.trainers.models.value import ValueModel
from ludus.trainers.opponents import given_members, members_at
from ludus.trainers.parallel.member import Member
from ludus.trainers.plan.ledger import Ledger
from ludus.trainers.plan.models import beside, source_of, without_numbers
from ludus.trainers.plan.rows import Rows, with_own_pictures
from ludus.trainers.teachers.lesson import Lesson, Likeliest
from ludus.trainers.teachers.local import LocalTeacher

WEIGHTS, ADAPTER, REFERENCE, VALUE = "weights", "adapter", "reference model", "value model"
TEACHER, MEMBERS = "teacher", "league"
MASTERS, OPTIMIZER, GRADIENTS = "float32 copies", "optimizer", "gradients"
ACTIVATIONS, LOGITS, CACHE = "activations", "logits", "keys and values"

Bytes = Mapping[str, int]
"""By part."""


@dataclass
class Models:
    """What a phase computes with, inside the ledger."""

    ledger: Ledger
    config: RunConfig
    policy: LoadedModel
    value: ValueModel | None = None
    teacher: LocalTeacher | None = None
    member: Member = field(init=False)

    def __post_init__(self) -> None:
        self.member = Member(self.policy, self.config)

    def fine_tuning(self, section: OptimizerSection, rows: Rows, observations_weight: float = 0.0) -> Bytes:
        """An optimiser step on demonstrations, data, or chosen episodes."""
        marked = sft.marked(rows, observations_weight)
        pieces = [
            sft.Weighed(micro, torch.zeros(2, len(micro.token_N)), observations_weight)
            for micro in self._largest(marked, section.microbatch_tokens)
        ]
        with self.optimizing(section) as optimizer:
            return self.step([optimizer], lambda: sft.accumulate_gradients(self.member, pieces))

    @contextmanager
    def optimizing(self, section: OptimizerSection) -> Iterator[Optimizer]:
        """Inside, the policy's optimiser is there, as after its first step."""
        with self.ledger, self.ledger.counting(MASTERS):
            optimizer = build_optimizer(self.policy.model, section, self.config.model.masters)
        self._begin(optimizer)
        yield optimizer

    @contextmanager
    def preferring(self) -> Iterator[Optimizer]:
        """Inside, what preferences train with is there: the optimiser and, where pairs are played, the
        reference."""
        with self.ledger, self.ledger.counting(REFERENCE):
            reference = beside(self.policy.model) if self.config.preferences.is_online else None
        with self.optimizing(self.config.preferences) as optimizer:
            yield optimizer
        del reference

    def comparing(self, optimizer: Optimizer, pairs: Sequence[Pair]) -> Bytes:
        """An optimiser step on preferences."""
        section = self.config.preferences
        packed = pack_pairs(pairs, section.microbatch_tokens, self.config.run.workers)
        largest = max(packed, key=lambda batch: (batch.micro.tokens, len(batch.micro.places_P)))
        pieces = [(largest, torch.zeros_like(largest.tokens_P2))] * min(len(packed), 2)
        return self.step(
            [optimizer],
            lambda: preferences.accumulate_gradients(self.member, (pieces, section, len(pairs), 1)),
        )

    @contextmanager
    def beside(self) -> Iterator[Critic | None]:
        """Inside, the other models of GRPO are there: the reference, the league and, as after its first step,
        the value model, which is given."""
        model, section = self.policy.model, self.config.critic
        with self.ledger, self.ledger.counting(REFERENCE):
            reference = beside(model) if self.config.grpo.kl_coefficient else None
        with self.ledger, self.ledger.counting(MEMBERS):
            own = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
            league = torch.empty(most_members(self.config) * own, dtype=torch.uint8)
        critic = None if section is None else self._critic(section)
        self.teacher = self._teacher()
        yield critic
        del reference, league

    def _teacher(self) -> LocalTeacher | None:
        """None behind a server, too, which takes nothing here."""
        section = self.config.distillation
        if section is None or section.is_served:
            return None
        whole = self.config.model_copy(update={"adapter": None})
        loaded = without_numbers(source_of(section.teacher), whole, self.ledger, (TEACHER, TEACHER))
        return LocalTeacher(loaded.model, section, self.config, count_words(self.policy.tokenizer))

    def _critic(self, section: CriticSection) -> Critic:
        model = self.policy.model
        with self.ledger, self.ledger.counting(VALUE):
            own = beside(model) if section.kind == "model" else None
            share = section.coefficient if own is None else 0.0
            self.value = ValueModel(model.get_output_embeddings().in_features, model.device, own, share)
        with self.ledger, self.ledger.counting(MASTERS):
            optimizer = build_optimizer(self.value, section, self.config.model.masters)
        self._begin(optimizer)
        return Critic(self.value, optimizer, section, self.policy.format)

    def update(self, optimizer: Optimizer, critic: Critic | None, rows: Rows) -> Bytes:
        """One of GRPO's."""
        config = self.config
        minibatch = self._minibatch(self._largest(rows, config.grpo.microbatch_tokens))
        return self.step(
            [optimizer, *([critic.optimizer] if critic else [])],
            lambda: grpo.accumulate_gradients(
                minibatch, self.policy.model, config.grpo, config.rollout.temperature, critic
            ),
        )

    def scoring(self, critic: Critic | None, rows: Rows) -> Bytes:
        """Log-probabilities and values of a batch that was played."""
        config, ledger = self.config, self.ledger
        micro_batches = self._largest(rows, config.grpo.microbatch_tokens)[:1]
        with self._labelled():
            ledger.begin()
            value = None if critic is None else critic.model
            # As many rows as there are indices, whatever is in them.
            score_rows(self.policy.model, rows, micro_batches, config.rollout.temperature, value)
            if self.teacher is not None:
                self.teacher.lesson_on(micro_batches, int(sampled_counts(rows).sum()))
            return ledger.peak

    def step(self, optimizers: Sequence[Optimizer], accumulate: Callable[[], object]) -> Bytes:
        """Gradients, and what is done with them."""
        ledger = self.ledger
        with self._labelled():
            ledger.begin()
            accumulate()
            with ledger.counting(OPTIMIZER):
                for optimizer in optimizers:
                    clip_gradients(optimizer, 1.0)
                for optimizer in optimizers:
                    take_step(optimizer, 1e-5)
            return ledger.peak

    def sampling(self, rows: Rows, episodes: int, temperature: float, seats: int = 1) -> Bytes:
        """Episodes that become such rows, as many at once as may be.

        Args:
            seats: Of a game that models sit on.
        """
        ledger, now, config = self.ledger, threading.Event(), self.config
        now.set()  # one pass at a time
        together = -(-min(config.rollout.concurrency, episodes) // config.run.workers) * seats
        played = [rows[number % len(rows)] for number in range(together)]
        if episodes > len(rows):  # of other starts
            others = [replace(row, ids=(number, *row.ids[1:])) for number, row in enumerate(played)]
            played = [with_own_pictures(row, number, 0) for number, row in enumerate(others)]
        sampling = Sampling(max_tokens=config.rollout.max_tokens, temperature=temperature)
        prompts = [list(row.ids[: row.sampled.index(True)]) for row in played]
        requests = [
            Request(
                *(number, prompt, sampling, number, sampling.max_tokens, cast(Any, None)),
                shown_by(prompt, row.pictures),
            )
            for number, (prompt, row) in enumerate(zip(prompts, played, strict=True))
        ]
        longest = max(len(row.ids) for row in rows)
        batch = Batch(self.policy.model, len(requests), self.policy.format.vocab_size)
        most: Counter[str] = Counter()

        def one_pass() -> None:
            ledger.begin()
            before = ledger.live.get(ACTIVATIONS, 0)
            ledger.switch(CACHE)  # which grows before the decoder begins
            batch.run(now)
            kept = ledger.live.get(ACTIVATIONS, 0) - before  # in the cache, where layers make it
            ledger.move_all(ACTIVATIONS, CACHE)
            peak = dict(ledger.peak)
            cached = min(kept, peak.get(ACTIVATIONS, 0))
            peak[ACTIVATIONS] = peak.get(ACTIVATIONS, 0) - cached
            peak[CACHE] = peak.get(CACHE, 0) + cached
            nonlocal most
            most |= Counter(peak)  # prompts come while other rows are long

        with self._labelled():
            batch.admit(requests)
            while not all(request.new_ids for request in requests):  # what prompts share waits for its first
                one_pass()
            for row in batch.rows:
                row.cached, row.pending = [0] * (longest - 2), [0]
            for request, row_played in zip(requests, played, strict=True):
                request.pictures = row_played.pictures
            one_pass()
            batch.drop()
        return most

    def _begin(self, optimizer: Optimizer) -> None:
        """Its state, which its first step makes."""
        with self.ledger, self.ledger.counting(OPTIMIZER):
            for parameter in optimizer.parameters():
                parameter.grad = torch.zeros_like(parameter, dtype=gradient_dtype(parameter))
            take_step(optimizer, 1e-5)

    def _largest(self, rows: Rows, budget: int) -> list[MicroBatch]:
        """The largest micro-batch; twice if it is one of several, since the gradients of the first are there
        when those of the second are computed."""
        packed = pack(rows, even_budget(rows, budget, self.config.run.workers))
        largest = max(packed, key=lambda micro: (micro.tokens, len(micro.places_P)))
        return [largest] * min(len(packed), 2)

    def _minibatch(self, micro_batches: list[MicroBatch]) -> Minibatch:
        """Theirs; values are not looked at."""
        zeros_S = torch.zeros(1 + max(int(micro.token_N.max()) for micro in micro_batches))
        has_reference = self.config.grpo.kl_coefficient > 0
        return Minibatch(
            micro_batches,
            advantages_S=zeros_S,
            weights_S=zeros_S + 1,
            engine_logprobs_S=zeros_S,
            old_logprobs_S=zeros_S,
            reference_logprobs_S=zeros_S if has_reference else None,
            mismatch_A=zeros_S,
            entropy_A=zeros_S,
            values_S=zeros_S,
            targets_S=zeros_S,
            lesson=self._lesson(zeros_S),
        )

    def _lesson(self, zeros_S: Tensor) -> Lesson | None:
        section = self.config.distillation
        if section is None or not section.top_k:
            return None
        words = count_words(self.policy.tokenizer)
        count = min(section.top_k, words)
        ids_SK = torch.zeros(len(zeros_S), count, dtype=torch.int32)
        logprobs_SC = zeros_S[:, None].expand(-1, count + (count < words))
        return Lesson(zeros_S, Likeliest(ids_SK, logprobs_SC, words, section.beta))

    @contextmanager
    def _labelled(self) -> Iterator[None]:
        """Inside the ledger, what decoders allocate are activations, and what comes of their hidden states
        are logits, in the backward pass, too; gradients are gradients once they are there."""
        ledger = self.ledger

        def begin(*_: object) -> None:
            ledger.switch(ACTIVATIONS)

        def end(_: nn.Module, __: object, output: Any) -> None:
            ledger.switch(LOGITS)
            if output.last_hidden_state.requires_grad:
                output.last_hidden_state.register_hook(begin)

        def is_gradient(parameter: Tensor) -> None:
            assert parameter.grad is not None
            ledger.move(parameter.grad, GRADIENTS)

        models = [self.policy.model]
        if self.value is not None and self.value.model is not None:
            models.append(self.value.model)
        if self.teacher is not None:
            models.append(self.teacher.model)
        handles: list[Any] = []
        for model in models:
            if reader_of(model) is not None:
                model.get_image_features = partial(_seen, ledger, model)
        for part in map(decoder, models):
            handles += [part.register_forward_pre_hook(begin), part.register_forward_hook(end)]
        trained = [*self.policy.model.parameters(), *(self.value.parameters() if self.value else ())]
        handles += [
            parameter.register_post_accumulate_grad_hook(is_gradient)
            for parameter in trained
            if parameter.requires_grad
        ]
        try:
            with ledger, ledger.counting(LOGITS):
                yield
        finally:
            for handle in handles:
                handle.remove()
            for model in models:
                vars(model).pop("get_image_features", None)


def most_members(config: RunConfig) -> int:
    """How many models of the league are in memory at most."""
    section = config.opponents
    if section is None or not (LEAGUE in section.weights or section.rating.every):
        return 0
    return len(members_at(config.grpo.steps - 1, section.league)) + len(given_members(section.league))


def seats_of_models(config: RunConfig, members: int) -> int:
    """Of a game: two where the policy, or a member of the league, may sit on the other one, too."""
    section = config.opponents
    return 2 if members or (section is not None and SELF in section.weights) else 1


def _seen(ledger: Ledger, model: Any, **named: Any) -> Any:
    """A model's vision tower. Where it cuts a picture into windows depends on numbers, which are given."""
    with _disable_current_modes():
        if (grid := named.get("image_grid_thw")) is not None:
            cuts = {"grid_thw": grid}
            precompute_export_inputs(model.base_model.visual, cuts)
            named |= {f"image_{name}": cut for name, cut in cuts.items() if name != "grid_thw"}
    with ledger.counting(ACTIVATIONS):
        return type(model).get_image_features(model, **named)
