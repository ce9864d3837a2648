"""Which tasks are trained on and which are held out: two sets of seeds that share no task by content."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np

from ludus.trainers.errors import ConfigError

TRAINING_SEEDS = 2**32
"""Training seeds are drawn below this; held-out tasks have seeds from here on."""

Purpose = Literal["sft", "grpo"]
_PURPOSES: tuple[Purpose, ...] = ("sft", "grpo")

_TRIES_PER_TASK = 20
"""Seeds looked at for each held-out task before the task space counts as too small."""

_PROBES = 256
"""Training seeds looked at to see how much of what training draws is held out."""

_MOST_HELD_OUT = 0.5
"""The largest share of them that may be held out."""


@dataclass(frozen=True)
class HeldOut:
    """The tasks used for evaluation and never for training."""

    seeds: tuple[int, ...]
    """One seed for each task; all tasks differ by content."""
    tasks: frozenset[str]
    """Their `info["task"]` keys."""


def hold_out(env: gymnasium.Env[Any, Any], count: int, first_seed: int = TRAINING_SEEDS) -> HeldOut:
    """The first `count` distinct tasks of the seeds from `first_seed` on: the same for every run on `env`.

    There are fewer if the environment has few distinct tasks: at least half of training's draws stay for
    training.

    Raises:
        ConfigError: if the environment has too few distinct tasks to be split at all.
    """
    found: dict[str, int] = {}
    for seed in range(first_seed, first_seed + _TRIES_PER_TASK * count):
        if len(found) == count:
            break
        found.setdefault(task_of(env, seed), seed)
    tasks = list(found)
    drawn = [task_of(env, training_seed(0, "grpo", position)) for position in range(_PROBES if tasks else 0)]

    def share() -> float:
        """The share of training's draws that `tasks` would take."""
        held_out = set(tasks)
        return sum(task in held_out for task in drawn) / _PROBES

    while len(tasks) > 1 and share() > _MOST_HELD_OUT:
        tasks = tasks[: max(1, int(len(tasks) * _MOST_HELD_OUT / share()))]
    if share() == 1.0:
        name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        raise ConfigError(
            f"{name} always starts the same task, so none can be held out: make the task space larger with "
            "[environment.arguments], or hold nothing out with evaluation.episodes = 0 and sft.steps = 0"
        )
    return HeldOut(tuple(found[task] for task in tasks), frozenset(tasks))


class TaskStream:
    """The endless sequence of training seeds, without those of held-out tasks.

    The seed at a position is a pure function of (run seed, purpose, position), so `position` is the whole
    state.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        run_seed: int,
        purpose: Purpose,
        held_out: frozenset[str],
        position: int = 0,
    ) -> None:
        self._env = env
        self._run_seed = run_seed
        self._purpose: Purpose = purpose
        self._held_out = held_out
        self.position = position
        """Position of the next seed to look at."""

    def take(self, count: int) -> list[int]:
        """The next `count` training seeds."""
        seeds: list[int] = []
        for seed in self._from(self.position):
            self.position += 1
            if task_of(self._env, seed) not in self._held_out:
                seeds.append(seed)
            if len(seeds) == count:
                break
        return seeds

    def _from(self, position: int) -> Iterator[int]:
        while True:
            yield training_seed(self._run_seed, self._purpose, position)
            position += 1


def training_seed(run_seed: int, purpose: Purpose, position: int) -> int:
    """The seed at a position of one of a run's streams, in [0, 2**32)."""
    entropy = (run_seed, _PURPOSES.index(purpose), position)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def task_of(env: gymnasium.Env[Any, Any], seed: int) -> str:
    """The content key of the task that a seed starts."""
    return str(env.reset(seed=seed)[1]["task"])
