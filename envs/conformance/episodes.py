"""Episodes that were recorded once and can be played again, step by step, to see whether they come out the
same."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.conformance.report import Violation
from ludus.envs.scripted import ScriptedAgent

MAX_STEPS = 10_000
"""An episode that goes on for longer is taken to have no end."""
REPEATABLE = ("random", "oracle", "samples")
"""Agents whose actions lead to the same again. A cheater may have programs run that draw numbers."""


@dataclass(frozen=True)
class Subject:
    """The environment that is checked: how to make one, and how many episodes each scripted agent plays."""

    name: str
    make: Callable[..., gymnasium.Env[Any, Any]]
    """Takes keyword arguments of the environment beside those that are checked."""
    episodes: int

    @functools.cached_property
    def scripted(self) -> dict[str, type[ScriptedAgent]]:
        env = self.make()
        try:
            return dict(getattr(env.unwrapped, "scripted", {}))
        finally:
            env.close()

    @functools.cached_property
    def played(self) -> tuple["Episode", ...]:
        """A few episodes of every scripted agent, and of samples of the action space."""
        env = self.make()
        agents: dict[str, type[ScriptedAgent]] = {**self.scripted, "samples": Sampler}
        found = [
            Episode(name, seed, tuple(play(env, agent(env.unwrapped, seed), seed)))
            for name, agent in agents.items()
            for seed in range(3)
        ]
        env.close()
        return tuple(found)

    @functools.cached_property
    def recordings(self) -> tuple["Recording", ...]:
        """Of the random agent, the oracle and the samples."""
        return tuple(episode.recording() for episode in self.played if episode.agent in REPEATABLE)


@dataclass(frozen=True)
class Step:
    """What `reset` or `step` returned; after `reset` the reward is 0 and the action None."""

    action: Any
    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    info: dict[str, Any]

    @property
    def ended(self) -> bool:
        return bool(self.terminated or self.truncated)


@dataclass(frozen=True)
class Recording:
    """An episode: the seed of its start, its actions, and what came of them, in comparable form."""

    seed: int
    actions: tuple[Any, ...]
    trace: tuple[Any, ...]


@dataclass(frozen=True)
class Episode:
    """An episode as it was played; the first step is the reset."""

    agent: str
    seed: int
    steps: tuple[Step, ...]

    def recording(self) -> Recording:
        actions = tuple(step.action for step in self.steps[1:])
        return Recording(self.seed, actions, tuple(map(comparable_step, self.steps)))


class Sampler(ScriptedAgent):
    """Plays samples of the action space."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        env.action_space.seed(seed)

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        return self.env.action_space.sample()


def play(env: gymnasium.Env[Any, Any], agent: ScriptedAgent, seed: int) -> Iterator[Step]:
    """An episode, step by step, the reset first.

    Raises:
        Violation: when it does not end.
    """
    observation, info = env.reset(seed=seed)
    agent.begin()
    step = Step(None, observation, 0.0, False, False, info)
    yield step
    for _ in range(MAX_STEPS):
        action = agent.act(step.observation, step.info)
        step = Step(action, *env.step(action))
        yield step
        if step.ended:
            return
    raise Violation(
        f"seed {seed}: {type(agent).__name__} played {MAX_STEPS} steps without an end: terminate, or "
        "truncate at a limit"
    )


def replay(env: gymnasium.Env[Any, Any], recording: Recording) -> Iterator[Any]:
    """The trace of the same seed and actions, step by step."""
    observation, info = env.reset(seed=recording.seed)
    yield comparable_step(Step(None, observation, 0.0, False, False, info))
    yield from carry_on(env, recording.actions)


def carry_on(env: gymnasium.Env[Any, Any], actions: tuple[Any, ...]) -> Iterator[Any]:
    for action in actions:
        step = Step(action, *env.step(action))
        yield comparable_step(step)
        if step.ended:
            return


def comparable_step(step: Step) -> Any:
    return comparable((step.observation, step.reward, step.terminated, step.truncated, step.info))


def comparable(value: Any) -> Any:
    """A value that compares with `==` and whose `repr` is the same in every process."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return tuple(comparable(item) for item in value.tolist())
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, np.generic):
        return comparable(value.item())
    if isinstance(value, dict):
        return tuple(sorted((str(key), comparable(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return tuple(comparable(item) for item in value)
    return value


def expect_same(where: str, expected: tuple[Any, ...], found: tuple[Any, ...]) -> None:
    """
    Raises:
        Violation: that names the first step and part in which two traces differ.
    """
    if expected == found:
        return
    parts = ("observation", "reward", "terminated", "truncated", "info")
    for number, (before, after) in enumerate(zip(expected, found, strict=False)):
        for part, one, other in zip(parts, before, after, strict=True):
            if one != other:
                raise Violation(
                    f"{where}: the {part} of step {number} is {_short(other)}, it was {_short(one)}; "
                    "everything must follow from arguments, seed, options and actions"
                )
    raise Violation(f"{where}: {len(found) - 1} steps, there were {len(expected) - 1}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:80]} … {text[-70:]}"
