"""Evaluation while training: held-out tasks every few steps, the best weights kept, an end when nothing gets
better.

All decisions are pure functions of the metrics of the steps so far, so that a resumed run takes the same
ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ludus.agents.episode import Episode
from ludus.agents.evaluate import summarise
from ludus.agents.rollout import EpisodeStart
from ludus.trainers.config.evaluation import ValidationSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.curriculum import History
from ludus.trainers.listener import Listener
from ludus.trainers.mixture import Mixture
from ludus.trainers.parallel.play import play
from ludus.trainers.parallel.team import Team
from ludus.trainers.tasks import Task


def play_tasks(
    team: Team,
    tasks: Sequence[Task],
    samples: int,
    temperature: float,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """`samples` episodes of every task; those of one task have one group number."""
    jobs = [
        (task.spec, EpisodeStart(task.seed, group=group, sample=sample))
        for group, task in enumerate(tasks)
        for sample in range(samples)
    ]
    return play(team, jobs, temperature, on_episode).episodes


@dataclass(frozen=True)
class Validation:
    """How a run is validated.

    Args:
        team: Plays with the weights in training, at `evaluation.temperature`.
        keep_best: Saves the weights as the best ones so far.
    """

    team: Team
    tasks: Sequence[Task]
    mixture: Mixture
    config: RunConfig
    keep_best: Callable[[], None]
    listener: Listener

    def measure(self, step: int, history: History) -> dict[str, float]:
        """The metrics of a validation after a step (counted from 0), if one is due, else none. Saves the
        weights if they are the best so far."""
        section = self.config.validation
        if not self.tasks or not is_due(step, section, self.config.grpo.steps):
            return {}
        temperature = self.config.evaluation.temperature
        episodes = play_tasks(self.team, self.tasks, section.samples, temperature)
        metrics = validation_metrics(episodes, self.mixture)
        name = section.best_metric
        if name in metrics and metrics[name] > max(_values(history, name), default=float("-inf")):
            self.keep_best()
            self.listener.note(f"GRPO step {step + 1}: {name} {metrics[name]:.3f}, the best so far")
        return metrics


def is_due(step: int, section: ValidationSection, steps: int) -> bool:
    """Whether a validation follows a step, counted from 0."""
    return bool(section.every) and ((step + 1) % section.every == 0 or step + 1 == steps)


def is_out_of_patience(history: History, section: ValidationSection) -> bool:
    """Whether the last `patience` validations brought no new best."""
    values = _values(history, section.best_metric)
    if not section.patience or not values:
        return False
    return len(values) - 1 - values.index(max(values)) >= section.patience


def validation_metrics(episodes: Sequence[Episode], mixture: Mixture) -> dict[str, float]:
    """`validation/success`, `validation/reward` and `validation/pass@K`, for several environments also
    `validation/NAME/…`; of the scored episodes, and empty without one."""
    metrics = _figures(episodes, "validation")
    if len(mixture.members) > 1:
        for member in mixture.members:
            own = [episode for episode in episodes if mixture.place(episode)[0] is member]
            metrics |= _figures(own, f"validation/{member.name}")
    return metrics


def _figures(episodes: Sequence[Episode], prefix: str) -> dict[str, float]:
    summary = summarise(episodes)
    if not summary.scored:
        return {}
    return {
        f"{prefix}/success": summary.success.value,
        f"{prefix}/reward": summary.mean_return.value,
        **{f"{prefix}/pass@{k}": share.estimate.value for k, share in summary.pass_at.items() if k > 1},
    }


def _values(history: Sequence[Mapping[str, float | str]], name: str) -> list[float]:
    return [float(line[name]) for line in history if name in line]
