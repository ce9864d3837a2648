"""What a run reports to whoever watches it. The command line shows progress from it; a test may record it."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import fmean
from typing import Literal

from ludus.agents.episode import Episode

Phase = Literal[
    "model",
    "data",
    "demonstrations",
    "sft",
    "evaluation-primed",
    "rft",
    "preferences",
    "grpo",
    "evaluation-best",
    "evaluation-final",
    "episodes",
    "steps",
    "reward_model",
]
"""A run's phases, in order. Phases that finished before a resume are not reported again."""


class Listener:
    """Does nothing; override the methods of interest. They are called from the training thread, never
    concurrently."""

    def phase_begun(self, phase: Phase, total: int, completed: int) -> None:
        """A phase begins, or continues after a resume.

        Args:
            phase: Which one.
            total: Its length: optimiser steps in `sft`, `rft`, `preferences`, `grpo` and `reward_model`,
                episodes in the others; 0 if unknown (`model`, `data`).
            completed: How much of it is already done (above 0 only after a resume).
        """

    def progressed(self, phase: Phase, completed: int, metrics: Mapping[str, float]) -> None:
        """A step is done: `completed` of `total`.

        In `sft`, `rft`, `preferences`, `grpo` and `reward_model`, `metrics` is the line of `metrics.jsonl`
        without `phase` and `step`. In other phases it holds running means such as `success` and `reward`, and
        may be empty.
        """

    def phase_ended(self, phase: Phase, seconds: float) -> None:
        """The phase is done, `seconds` after it began (or was resumed)."""

    def note(self, text: str) -> None:
        """One line for a person: where a resumed run continues, what was built, how an evaluation came
        out."""


@contextmanager
def phase(listener: Listener, name: Phase, total: int) -> Iterator[None]:
    began = time.perf_counter()
    listener.phase_begun(name, total, 0)
    yield
    listener.phase_ended(name, time.perf_counter() - began)


def counter(listener: Listener, name: Phase) -> Callable[[Episode], None]:
    """Reports each finished episode to the listener, with the share of faults so far and the means over the
    scored episodes."""
    numbers = itertools.count(1)
    returns: list[float] = []
    successes: list[bool] = []
    faults = 0

    def count(episode: Episode) -> None:
        nonlocal faults
        number = next(numbers)
        faults += episode.is_fault
        if episode.is_scored:
            returns.append(episode.episode_return)
            successes.append(episode.success)
        means = {"reward": fmean(returns), "success": fmean(successes)} if returns else {}
        listener.progressed(name, number, {**means, "fault_share": faults / number})

    return count
