"""The environments that a run trains on: one or several, each at one or several levels of difficulty."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium

from ludus.agents.episode import Episode
from ludus.agents.rollout import EnvironmentSpec
from ludus.envs.difficulty import levels_of
from ludus.trainers.config.curriculum import CurriculumSection
from ludus.trainers.config.environment import EnvironmentSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError


@dataclass(frozen=True)
class Member:
    """One of the environments."""

    name: str
    """What its figures are called."""
    weight: float
    specs: tuple[EnvironmentSpec, ...]
    """One for each level, easiest first; one alone without a curriculum."""
    curriculum: CurriculumSection | None = None

    @property
    def evaluated(self) -> list[int]:
        """The levels of its held-out tasks."""
        stated = self.curriculum.evaluate if self.curriculum is not None else []
        return stated or [len(self.specs) - 1]


@dataclass(frozen=True)
class Mixture:
    """What a run plays; nothing, if it fine-tunes on data alone."""

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for member in self.members:
            for spec in member.specs:
                key = _key(spec.id, spec.arguments)
                if key in seen:
                    raise ConfigError(
                        f"{seen[key]} and {member.name} both play {spec.id} with the arguments "
                        f"{spec.arguments}, so their episodes could not be told apart; change the arguments "
                        "or the levels of one, or drop it"
                    )
            seen |= {_key(spec.id, spec.arguments): member.name for spec in member.specs}

    @property
    def is_single(self) -> bool:
        """One environment without levels."""
        return len(self.members) == 1 and len(self.members[0].specs) == 1

    @property
    def specs(self) -> list[EnvironmentSpec]:
        return [spec for member in self.members for spec in member.specs]

    def place(self, episode: Episode) -> tuple[Member, int]:
        """The environment and the level that an episode, or what is stored of it, was played in."""
        index, level = self._places[_key(episode.environment, episode.arguments)]
        return self.members[index], level

    @cached_property
    def _places(self) -> Mapping[str, tuple[int, int]]:
        return {
            _key(spec.id, spec.arguments): (index, level)
            for index, member in enumerate(self.members)
            for level, spec in enumerate(member.specs)
        }


def trained_on(config: RunConfig) -> tuple[EnvironmentSpec, ...]:
    """The environments of a run with the arguments that it is measured at: those with a curriculum at the
    hardest of the levels that are evaluated."""
    if not any(section.curriculum for section in config.played):
        return tuple(section.spec for section in config.played)
    return tuple(member.specs[max(member.evaluated)] for member in mixture_of(config).members)


def mixture_of(config: RunConfig) -> Mixture:
    """
    Raises:
        ConfigError: if an environment cannot be made at one of its levels, a language model cannot play it,
            it lacks the scripted agent for demonstrations, or has no such levels.
    """
    demonstrator = config.sft.demonstrator if config.sft.demonstrates else ""
    if config.environment is not None:
        return Mixture((_member(config.environment, "environment", 1.0, demonstrator),))
    return Mixture(
        tuple(
            _member(section, f"environments.{index}", section.weight, demonstrator)
            for index, section in enumerate(config.environments)
        )
    )


def make_environment(spec: EnvironmentSpec, table: str, demonstrator: str) -> gymnasium.Env[Any, Any]:
    """
    Args:
        table: Where the configuration gives it.
        demonstrator: The scripted agent whose demonstrations are wanted; empty if none are.

    Raises:
        ConfigError: if it cannot be made with these arguments, a language model cannot play it, or it has no
            such scripted agent.
    """
    try:
        env = spec.make()
    except (TypeError, ValueError, ModuleNotFoundError, gymnasium.error.Error) as error:
        raise ConfigError(f"[{table}] {spec.id} cannot be made as configured: {_plain(error)}") from error
    if not isinstance(env.reset(seed=0)[0], list):
        raise ConfigError(
            f"{table}.id = {spec.id} does not observe messages, so a language model cannot play it; take its "
            "chat form"
        )
    scripted = getattr(env.unwrapped, "scripted", {})
    if demonstrator and demonstrator not in scripted:
        raise ConfigError(
            f"{table}.id = {spec.id} has no scripted agent {demonstrator!r} to take demonstrations from; it "
            f"has {', '.join(scripted) or 'none'}: name one in sft.demonstrator, add one to `scripted`, name "
            "files in sft.data, or leave priming out with sft.steps = 0"
        )
    return env


def _member(section: EnvironmentSection, table: str, weight: float, demonstrator: str) -> Member:
    curriculum = section.curriculum
    specs: tuple[EnvironmentSpec, ...] = (section.spec,)
    if curriculum is not None:
        with closing(make_environment(section.spec, table, demonstrator)) as env:
            own = getattr(env.unwrapped, "difficulties", {})
            if not isinstance(own, Mapping):
                raise ConfigError(
                    f"{section.title}: {section.id} gives its difficulties as {own!r}; they are a mapping of "
                    'arguments to their values, easiest first, such as {"size": (3, 5, 9)}'
                )
            specs = _levels(section, curriculum, own)
    for spec in specs:
        make_environment(spec, table, demonstrator).close()
    return Member(section.title, weight, specs, curriculum)


def _levels(
    section: EnvironmentSection, curriculum: CurriculumSection, own: Mapping[str, Sequence[Any]]
) -> tuple[EnvironmentSpec, ...]:
    """The environment at each of its levels."""
    fixed = section.arguments
    if both := [name for name in curriculum.difficulty if name in fixed]:
        raise ConfigError(
            f"{section.title}: {both[0]} is fixed by the arguments and varied by curriculum.difficulty; drop "
            "one"
        )
    varied = {name: values for name, values in own.items() if name not in fixed}
    levels = levels_of(curriculum.difficulty or varied)
    keys = [_key(section.id, level) for level in levels]
    if twice := next((level for level, key in enumerate(keys) if key in keys[:level]), 0):
        raise ConfigError(
            f"{section.title}: level {twice} of the curriculum is level {keys.index(keys[twice])} again, "
            f"{levels[twice]}, so their figures could not be told apart; list each value of "
            "curriculum.difficulty once"
        )
    if len(levels) < 2:
        why = "the arguments fix all that it has" if own else "it does not say what makes its tasks harder"
        raise ConfigError(
            f"{section.title}: {section.id} has no levels of difficulty for a curriculum ({why}); list "
            "arguments with their values, easiest first, in curriculum.difficulty, or drop the curriculum"
        )
    for name, level in (("start", curriculum.start), *(("evaluate", level) for level in curriculum.evaluate)):
        if level >= len(levels):
            raise ConfigError(
                f"{section.title}: curriculum.{name} names level {level}, but there are {len(levels)} "
                f"levels, 0 to {len(levels) - 1}; the hardest has {levels[-1]}"
            )
    return tuple(EnvironmentSpec(section.id, {**fixed, **level}) for level in levels)


def _plain(error: Exception) -> str:
    """An error of `gymnasium.make` without what it appends: the environment and its arguments again."""
    return str(error.__cause__ or error)


def _key(id: str, arguments: Mapping[str, Any]) -> str:
    """The same for arguments from a file, where a tuple is a list."""
    return f"{id} {json.dumps(arguments, sort_keys=True, default=repr)}"
