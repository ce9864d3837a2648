"""What the conformance suite found."""

from dataclasses import dataclass

from ludus.envs.faults import EnvironmentFault
from ludus.tools.errors import UserError


class Violation(Exception):
    """A check's finding: what the environment did, and what it should have done."""


def is_not_about_the_environment(error: Exception) -> bool:
    """Whether nothing can be said about the environment: something broke beside it, or this machine lacks
    what it needs, such as a sandbox or a package. A wrong argument is its own affair."""
    lacks = isinstance(error, UserError) and not isinstance(error, ValueError | TypeError)
    return lacks or isinstance(error, EnvironmentFault)


@dataclass(frozen=True, slots=True)
class Check:
    """One check and its outcome."""

    name: str
    passed: bool
    detail: str
    """What was measured; or what is wrong, and what would be right."""


@dataclass(frozen=True, slots=True)
class Report:
    """Every check that was made of one environment."""

    environment: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    def __str__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        lines = [f"{'ok    ' if c.passed else 'FAILED'}  {c.name:{width}}  {c.detail}" for c in self.checks]
        summary = "conforms" if self.passed else f"{len(self.failures)} of {len(self.checks)} checks failed"
        return "\n".join([f"{self.environment}: {summary}", *lines])
