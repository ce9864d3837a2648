"""Reward models: outcomes from pairs, and steps from their labels.

An example is a pair or a row with steps. A step's gradient is that of the mean loss over its batch's pairs,
or over the steps of its rows, however they are cut into micro-batches.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from ludus.agents.models import LoadedModel
from ludus.agents.reward_model import batches, rewards, step_logits
from ludus.trainers.algorithms.sft import batch_indices
from ludus.trainers.calibration import PairReport, StepReport, report_pairs, report_steps
from ludus.trainers.checks.finite import check_loss, norm_metrics
from ludus.trainers.config.reward_model import RewardModelSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.data.examples import PairExample, StepExample
from ludus.trainers.listener import Listener
from ludus.trainers.losses.reward import bradley_terry, step_loss
from ludus.trainers.models.optimizer import apply_gradients, build_optimizer, learning_rate
from ludus.trainers.phase import TrainingPhase
from ludus.trainers.tasks import TaskStream

PHASE: Final = "reward_model"


@dataclass(frozen=True)
class Examples:
    """Examples of one of the two kinds; the other is empty."""

    pairs: Sequence[PairExample] = ()
    steps: Sequence[StepExample] = ()

    def __len__(self) -> int:
        return len(self.pairs) + len(self.steps)

    def take(self, indices: Sequence[int]) -> "Examples":
        if self.pairs:
            return Examples(pairs=[self.pairs[index] for index in indices])
        return Examples(steps=[self.steps[index] for index in indices])

    def parts(self, tokens: int) -> list["Examples"]:
        """In micro-batches of at most this many tokens, padding included, or one example."""
        sizes = [2 * pair.size for pair in self.pairs] + [row.size for row in self.steps]
        return [self.take(part) for part in batches(sizes, tokens)]

    @property
    def counted(self) -> int:
        """What the mean loss is taken over: pairs, or steps."""
        return len(self.pairs) + sum(len(row.places) for row in self.steps)

    @property
    def tokens(self) -> int:
        return sum(len(ids) for ids in self.rows)

    @property
    def rows(self) -> list[tuple[int, ...]]:
        """Of pairs all chosen, then all rejected ones."""
        sides = [pair.chosen for pair in self.pairs] + [pair.rejected for pair in self.pairs]
        return sides + [row.ids for row in self.steps]


def train_reward_model(
    loaded: LoadedModel,
    train: Examples,
    heldout: Examples,
    config: RunConfig,
    run: Path,
    tasks: TaskStream,
    listener: Listener,
) -> None:
    """Train a sequence-classification model in place, measuring the loss on `heldout` along the way.

    Raises:
        TrainingDiverged: if the loss is not finite.
        KeyboardInterrupt: after Ctrl-C, once the training state is saved.
    """
    section, model = config.reward_model, loaded.model
    assert section is not None
    steps = section.steps_over(len(train))
    optimizer = build_optimizer(model, section, config.model.masters)
    with TrainingPhase(run, PHASE, steps, model, optimizer, tasks, config.checkpoint, listener) as phase:
        for step in phase.steps():
            began = time.perf_counter()
            batch = train.take(batch_indices(config.run.seed, step, section.batch_examples, len(train)))
            loss = 0.0
            for part in batch.parts(section.microbatch_tokens):
                of_part = losses(loaded, part, section).sum() / batch.counted
                of_part.backward()
                loss += of_part.item()
            check_loss(loss, section, PHASE, step)
            rate = learning_rate(section, step, steps)
            norm = apply_gradients(optimizer, rate, section.max_grad_norm)
            seconds = time.perf_counter() - began
            metrics = {
                "loss": loss,
                **norm_metrics(norm, phase.history, section, PHASE, step),
                "learning_rate": rate,
                "tokens_per_second": batch.tokens / seconds,
                "seconds/total": seconds,
            }
            if (step + 1) % section.heldout_every == 0 or step + 1 == steps:
                metrics["heldout_loss"] = mean_loss(loaded, heldout, section)
            phase.finish(step, metrics)


def outputs(loaded: LoadedModel, examples: Examples) -> Tensor:
    """Rewards of `examples.rows`, or the logits of the steps, end to end; one forward pass."""
    if examples.pairs:
        return rewards(loaded.model, examples.rows)
    return step_logits(loaded.model, examples.rows, [row.places for row in examples.steps])


def losses(loaded: LoadedModel, examples: Examples, section: RewardModelSection) -> Tensor:
    """Of each pair, or of each step; one forward pass."""
    found = outputs(loaded, examples)
    if examples.pairs:
        margins = section.margin * found.new_tensor([pair.margin for pair in examples.pairs])
        chosen, rejected = found.chunk(2)
        return bradley_terry(chosen, rejected, margins, section.centring)
    return step_loss(found, found.new_tensor([label for row in examples.steps for label in row.labels]))


@torch.no_grad()
def mean_loss(loaded: LoadedModel, examples: Examples, section: RewardModelSection) -> float:
    """Nats per pair or step."""
    parts = examples.parts(section.microbatch_tokens)
    return sum(losses(loaded, part, section).sum().item() for part in parts) / examples.counted


@torch.no_grad()
def measure(loaded: LoadedModel, heldout: Examples, microbatch_tokens: int) -> PairReport | StepReport:
    """What the model is worth on held-out examples."""
    gaps: list[float] = []
    values: list[float] = []
    parts = heldout.parts(microbatch_tokens)
    for part in parts:
        found = outputs(loaded, part)
        if part.pairs:
            chosen, rejected = found.chunk(2)
            gaps += (chosen - rejected).tolist()
        else:
            values += found.double().sigmoid().tolist()
    if heldout.pairs:
        return report_pairs(gaps, [pair.lengths for part in parts for pair in part.pairs])
    return report_steps(values, [label for part in parts for row in part.steps for label in row.labels])
