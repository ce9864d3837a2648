"""Which tasks are trained on and which are held out: two streams of seeds that share no task by content."""

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
"""Training seeds looked at to see how much of the task space is held out."""


@dataclass(frozen=True)
class HeldOut:
    """The tasks that are evaluated on and never trained on."""

    seeds: tuple[int, ...]
    """One seed for each, all different by content."""
    tasks: frozenset[str]
    """Their `info["task"]` keys."""


def hold_out(env: gymnasium.Env[Any, Any], count: int, first_seed: int = TRAINING_SEEDS) -> HeldOut:
    """The first `count` distinct tasks of the seeds from `first_seed` on: the same for every run on `env`.

    Raises:
        ConfigError: if the environment has too few distinct tasks to hold so many out.
    """
    found: dict[str, int] = {}
    for seed in range(first_seed, first_seed + _TRIES_PER_TASK * count):
        if len(found) == count:
            break
        found.setdefault(task_of(env, seed), seed)
    if len(found) < count:
        raise ConfigError(
            f"{_name(env)} yields only {len(found)} distinct tasks in {_TRIES_PER_TASK * count} seeds, but "
            f"{count} are to be held out; make the task space larger with [environment.arguments] or ask for "
            "fewer evaluation.episodes"
        )
    return HeldOut(tuple(found.values()), frozenset(found))


class TaskStream:
    """The endless sequence of training seeds, every start that is held out left out.

    The seed at a position is a pure function of (run seed, purpose, position), so `position` is all the state
    there is.
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
        """Of the next seed to look at."""
        if held_out:
            self._refuse_small_task_space()

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

    def _refuse_small_task_space(self) -> None:
        seeds = [training_seed(self._run_seed, self._purpose, position) for position in range(_PROBES)]
        hits = sum(task_of(self._env, seed) in self._held_out for seed in seeds)
        if hits > _PROBES // 2:
            raise ConfigError(
                f"{_name(self._env)}: {len(self._held_out)} held-out tasks are {hits / _PROBES:.0%} of what "
                "training draws, so hardly anything would be left to train on; make the task space larger "
                "with [environment.arguments] or ask for fewer evaluation.episodes"
            )


def training_seed(run_seed: int, purpose: Purpose, position: int) -> int:
    """The seed at a position of one of a run's streams, in [0, 2**32)."""
    entropy = (run_seed, _PURPOSES.index(purpose), position)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def task_of(env: gymnasium.Env[Any, Any], seed: int) -> str:
    """The content key of the task that a seed starts."""
    return str(env.reset(seed=seed)[1]["task"])


def _name(env: gymnasium.Env[Any, Any]) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
