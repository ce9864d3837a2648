"""What a sandbox reports about a program."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class SandboxFault(RuntimeError):
    """The sandbox itself broke; the program in it is not to blame."""


class Verdict(StrEnum):
    """How a program ended."""

    OK = "ok"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    DISK_LIMIT = "disk_limit"
    REFUSED = "refused"
    """It was killed for a system call that no guest may make."""


@dataclass(frozen=True)
class Result:
    """The result of a program. Its output, files and exit code are as untrustworthy as the program."""

    verdict: Verdict
    exit_code: int | None
    """None if it did not exit on its own."""
    signal: int | None
    """The signal that killed it, or None."""
    stdout: str
    """Cut off at the limit; invalid UTF-8 becomes U+FFFD."""
    stderr: str
    files: dict[str, bytes] = field(default_factory=dict)
    """Those of `files_out` that are regular files within the disk limit."""
    seconds: float = 0.0
    """Wall time."""
    peak_memory: int = 0
    """The peak memory of its largest process, in bytes."""


@dataclass(frozen=True)
class Value:
    """What the guest claims that a call returned: a JSON value, or an error."""

    value: Any = None
    error: str | None = None


@dataclass(frozen=True)
class CallResult:
    """The outcome of `call`."""

    values: list[Value]
    """One for each call, in order; fewer if the program was stopped early."""
    result: Result
