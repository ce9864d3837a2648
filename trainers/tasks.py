"""Which tasks are trained on and which are held out: two sets of seeds that share no task by content."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, Literal

import gymnasium
import numpy as np

from ludus.agents.episode import Episode
from ludus.agents.rollout import EnvironmentSpec
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError
from ludus.trainers.mixture import Member, Mixture

TRAINING_SEEDS = 2**32
"""Training seeds are drawn below this; held-out tasks have seeds from here on."""

Purpose = Literal["sft", "grpo", "rft", "preferences", "reward_model"]
_PURPOSES: tuple[Purpose, ...] = ("sft", "grpo", "rft", "preferences", "reward_model")

_TRIES_PER_TASK = 20
"""Seeds looked at for each held-out task before the task space counts as too small."""

_PROBES = 256
"""Training seeds looked at to see how much of what training draws is held out."""

_MOST_HELD_OUT = 0.5
"""The largest share of them that may be held out."""

_STRIDES = (0.7548776662466927, 0.5698402909980532)
"""Of two sequences of numbers in [0, 1) whose first n are spread evenly, alone and as pairs, whatever n is
(M. Roberts, The unreasonable effectiveness of quasirandom sequences, 2018)."""


@dataclass(frozen=True)
class Task:
    """One start."""

    spec: EnvironmentSpec
    seed: int


@dataclass(frozen=True)
class HeldOut:
    """The tasks used for evaluation and never for training."""

    seeds: tuple[int, ...]
    """One seed for each task; all tasks differ by content."""
    tasks: frozenset[str]
    """Their `info["task"]` keys."""


@dataclass(frozen=True)
class Shortage:
    """An environment with few distinct tasks."""

    environment: str
    held_out: int
    wanted: int


@dataclass(frozen=True)
class HeldOutTasks:
    """The held-out tasks of all environments."""

    evaluation: tuple[Task, ...]
    validation: tuple[Task, ...]
    """Apart from those of the evaluation."""
    demonstrations: tuple[Task, ...]
    """Some of the evaluation's."""
    keys: Mapping[str, frozenset[str]]
    """Environment id → the `info["task"]` keys of all of them."""
    shortages: tuple[Shortage, ...] = ()
    """Where fewer are held out than the configuration asks for."""


def hold_out_tasks(mixture: Mixture, config: RunConfig) -> HeldOutTasks:
    """What `config` asks for, shared evenly by the environments and the levels that they are evaluated at.

    Raises:
        ConfigError: as `hold_out`; or if fewer are asked for than there are environments and levels, or all
            tasks of a level that is trained on are held out.
    """
    places = [(member, level) for member in mixture.members for level in member.evaluated]
    primed_on = config.sft.heldout_demonstrations if config.sft.demonstrates else 0
    asked = (
        config.evaluation.episodes,
        primed_on,
        config.validation.tasks if config.validation.every else 0,
    )
    for key, total in (("evaluation.episodes", asked[0]), ("validation.tasks", asked[2])):
        if 0 < total < len(places):
            raise ConfigError(
                f"{key} = {total} is less than one for each of the {len(places)} environments and levels "
                "that are measured, so some would be missing from the figures; raise it"
            )
    evaluation: list[Task] = []
    validation: list[Task] = []
    demonstrations: list[Task] = []
    keys: dict[str, frozenset[str]] = defaultdict(frozenset)
    shortages: list[Shortage] = []
    for place, (member, level) in enumerate(places):
        spec = member.specs[level]
        evaluated, shown, validated = (_part(total, len(places), place) for total in asked)
        first = max(evaluated, shown)
        wanted = first + validated
        with closing(spec.make()) as env:
            found = hold_out(env, wanted, config.evaluation.first_seed, keys[spec.id])
        keys[spec.id] |= found.tasks
        tasks = [Task(spec, seed) for seed in found.seeds]
        if len(tasks) < wanted:
            shortages.append(Shortage(spec.id, len(tasks), wanted))
            first = len(tasks) * first // wanted
        evaluation += tasks[: min(first, evaluated)]
        demonstrations += tasks[: min(first, shown)]
        validation += tasks[first:]
    held_out = HeldOutTasks(
        tuple(evaluation), tuple(validation), tuple(demonstrations), dict(keys), tuple(shortages)
    )
    if not mixture.is_single:
        for member in mixture.members:
            _refuse_all_held_out(member, held_out.keys[member.specs[0].id])
    return held_out


def hold_out(
    env: gymnasium.Env[Any, Any],
    count: int,
    first_seed: int = TRAINING_SEEDS,
    others: Collection[str] = (),
) -> HeldOut:
    """The first `count` distinct tasks of the seeds from `first_seed` on, without `others`: the same for
    every run on `env`.

    There are fewer if the environment has few distinct tasks: at least half of training's draws stay for
    training.

    Raises:
        ConfigError: if the environment has too few distinct tasks to be split at all.
    """
    found: dict[str, int] = {}
    for seed in range(first_seed, first_seed + _TRIES_PER_TASK * count):
        if len(found) == count:
            break
        if (task := task_of(env, seed)) not in others:
            found.setdefault(task, seed)
    tasks = list(found)
    drawn = [*_probe(env)] if tasks else []

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
    """The endless sequence of training tasks, without those that are held out.

    The seed at a position is a pure function of (run seed, purpose, position), so `position` is the whole
    state. Of several environments and levels, the one that a group is of is a pure function of (run seed,
    purpose, step, the group's number in the step) and of the weights.
    """

    def __init__(
        self,
        mixture: Mixture,
        run_seed: int,
        purpose: Purpose,
        held_out: Mapping[str, frozenset[str]],
        position: int = 0,
    ) -> None:
        self.mixture = mixture
        self._run_seed = run_seed
        self._purpose: Purpose = purpose
        self._held_out = held_out
        self.position = position
        """Position of the next seed to look at."""
        self._envs: dict[tuple[str, int], gymnasium.Env[Any, Any]] = {}

    def take(
        self,
        count: int,
        chances: Mapping[str, Sequence[float]],
        step: int = 0,
        first: int = 0,
    ) -> list[Task]:
        """The next `count` training tasks.

        Args:
            chances: Environment's name → the chance of each of its levels.
            step: That they are for.
            first: The first one's number in that step.
        """
        return [self._draw(*self._place(chances, step, first + index)) for index in range(count)]

    def is_held_out(self, episode: Episode) -> bool:
        """Whether an episode is on a task that is held out."""
        return episode.task in self._held_out.get(episode.environment, ())

    def close(self) -> None:
        for env in self._envs.values():
            env.close()

    def _place(self, chances: Mapping[str, Sequence[float]], step: int, number: int) -> tuple[Member, int]:
        """The environment and level of a group."""
        offsets = Random(f"{self._run_seed}/{self._purpose}/{step}")
        quantiles = [(offsets.random() + number * stride) % 1.0 for stride in _STRIDES]
        weights = [member.weight for member in self.mixture.members]
        member = self.mixture.members[pick(weights, quantiles[0])]
        return member, pick(chances[member.name], quantiles[1])

    def _draw(self, member: Member, level: int) -> Task:
        spec = member.specs[level]
        if (member.name, level) not in self._envs:
            self._envs[member.name, level] = spec.make()
        env, held_out = self._envs[member.name, level], self._held_out.get(spec.id, ())
        while True:
            seed = training_seed(self._run_seed, self._purpose, self.position)
            self.position += 1
            if task_of(env, seed) not in held_out:
                return Task(spec, seed)


def pick(weights: Sequence[float], quantile: float) -> int:
    """The index of the weight that holds the quantile (0 ≤ quantile < 1) when all are laid end to end."""
    ends = list(accumulate(weights))
    return next(index for index, end in enumerate(ends) if quantile * ends[-1] < end or end == ends[-1])


def training_seed(run_seed: int, purpose: Purpose, position: int) -> int:
    """The seed at a position of one of a run's streams, in [0, 2**32)."""
    entropy = (run_seed, _PURPOSES.index(purpose), position)
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def task_of(env: gymnasium.Env[Any, Any], seed: int) -> str:
    """The content key of the task that a seed starts."""
    return str(env.reset(seed=seed)[1]["task"])


def _part(total: int, parts: int, index: int) -> int:
    """The size of one of `parts` nearly equal parts of `total`."""
    return total // parts + (index < total % parts)


def _probe(env: gymnasium.Env[Any, Any]) -> Iterator[str]:
    """Tasks that training would draw."""
    return (task_of(env, training_seed(0, "grpo", position)) for position in range(_PROBES))


def _refuse_all_held_out(member: Member, held_out: frozenset[str]) -> None:
    """Drawing from such a level would never end."""
    for level, spec in enumerate(member.specs):
        with closing(spec.make()) as env:
            is_free = any(task not in held_out for task in _probe(env))
        if not is_free:
            raise ConfigError(
                f"{member.name}: all tasks of level {level} ({spec.arguments}) are held out, so none can be "
                "trained on; make the level larger, or hold fewer tasks out (evaluation.episodes, "
                "validation.tasks)"
            )
