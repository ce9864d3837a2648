"""What the conformance suite found about a sandbox."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """An attack and its outcome."""

    topic: str
    attack: str
    passed: bool
    expected: str
    """The acceptable verdicts."""
    got: str
    """The verdict; empty if the attack was not made or nothing came back."""
    detail: str
    """What is wrong; empty if nothing is."""


@dataclass(frozen=True, slots=True)
class Report:
    """All attacks on one sandbox."""

    backend: str
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        return all(outcome.passed for outcome in self.outcomes)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if not outcome.passed)

    @property
    def summary(self) -> str:
        count = len(self.outcomes)
        return f"{len(self.failures)} of {count} checks failed" if self.failures else f"holds, {count} checks"

    def __str__(self) -> str:
        width = max((len(outcome.attack) for outcome in self.outcomes), default=0)
        lines = [
            f"{'ok    ' if outcome.passed else 'FAILED'}  {outcome.attack:{width}}  {outcome.got or '-'}"
            + (f"  {outcome.detail}" if outcome.detail else "")
            for outcome in self.outcomes
        ]
        return "\n".join([f"{self.backend}: {self.summary}", *lines])
