"""`replay`: every loss, advantage and weight of a stored step, from its file alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ludus.trainers.advantages.role import baselines
from ludus.trainers.replay.compare import Figure, against_log
from ludus.trainers.replay.recompute import Recomputed, recompute
from ludus.trainers.replay.step import Step, algorithm, find_step
from ludus.trainers.replay.stored import StoredTokens, read_tokens
from ludus.trainers.run.job import computing
from ludus.trainers.schedules import coefficient_metrics


@dataclass(frozen=True)
class Replay:
    """A step, computed again."""

    step: Step
    stored: StoredTokens
    own: Recomputed
    """By the run's own algorithm."""
    others: dict[str, Recomputed]
    """By others, on the same tokens."""

    def figures(self) -> list[Figure]:
        """What the run logged, beside what is computed again."""
        return against_log(self.step.logged, self.own, self.stored)


def replay(run: Path, number: int | None = None, algorithms: Sequence[str] = ()) -> Replay:
    """
    Args:
        number: Which step, counted from 1; None: the last one that is stored.
        algorithms: Others, as `algorithm` reads them.

    Raises:
        UserError: in one line, why a step or an algorithm cannot be computed.
    """
    step = find_step(run, number)
    configs = [step.at(step.config), *(step.at(algorithm(step.config, text)) for text in algorithms)]
    stored = read_tokens(step.file, configs, baselines(step.history))
    labels = ["the run's own loss", *(f'--loss "{text}"' for text in algorithms)]
    with computing(step.config):
        own, *others = (
            recompute(stored, index, config, label, step.file)
            for index, (config, label) in enumerate(zip(configs, labels, strict=True))
        )
    own.metrics.update(coefficient_metrics(step.config.grpo, configs[0].grpo))
    return Replay(step, stored, own, dict(zip(algorithms, others, strict=True)))
