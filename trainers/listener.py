"""What a run tells whoever watches it. The command line draws progress from it; a test may record it."""

from collections.abc import Mapping
from typing import Literal

Phase = Literal["model", "demonstrations", "sft", "evaluation-primed", "grpo", "evaluation-final"]
"""A run's phases, in order. One that was finished before a resume is not told again."""


class Listener:
    """Does nothing; override what is of interest. Called from the thread that trains, never concurrently."""

    def phase_begun(self, phase: Phase, total: int, completed: int) -> None:
        """A phase begins, or goes on after a resume.

        Args:
            phase: Which one.
            total: Its length: optimiser steps in `sft` and `grpo`, episodes in the others; 0 if unknown
                (`model`).
            completed: How much of it is done already (more than 0 only after a resume).
        """

    def progressed(self, phase: Phase, completed: int, metrics: Mapping[str, float]) -> None:
        """A step is done: `completed` of `total`.

        In `sft` and `grpo`, `metrics` is the line that goes to `metrics.jsonl`, without `phase` and `step`.
        In the others it holds running means such as `success` and `reward`, and may be empty.
        """

    def phase_ended(self, phase: Phase, seconds: float) -> None:
        """The phase is done, `seconds` after it began (or was taken up again)."""

    def note(self, text: str) -> None:
        """One line for a person: where a resume goes on, what was built, how an evaluation came out."""
