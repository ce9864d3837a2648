"""What a sandbox reports about a program that ran in it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class SandboxFault(RuntimeError):
    """The sandbox itself broke; the program in it was not the cause."""


class Verdict(StrEnum):
    """How a program ended."""

    OK = "ok"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    DISK_LIMIT = "disk_limit"
    REFUSED = "refused"
    """It made a system call that no guest may make, and was killed for it."""


@dataclass(frozen=True)
class Result:
    """The result of a program. Its output, files and exit code are as untrustworthy as the program."""

    verdict: Verdict
    exit_code: int | None
    """None if it did not exit by itself."""
    signal: int | None
    """The signal that killed it, or None."""
    stdout: str
    """Cut off at the limit; bytes that are not UTF-8 become U+FFFD."""
    stderr: str
    files: dict[str, bytes] = field(default_factory=dict)
    """Those of `files_out` that exist as regular files and fit the disk limit."""
    seconds: float = 0.0
    """Wall time."""
    peak_memory: int = 0
    """The peak memory of its largest process, in bytes."""


@dataclass(frozen=True)
class Value:
    """What a call of a function returned, as the guest claims: a JSON value, or an error."""

    value: Any = None
    error: str | None = None


@dataclass(frozen=True)
class CallResult:
    """The outcome of `call`."""

    values: list[Value]
    """One for each input, in order; fewer if the program was stopped early."""
    result: Result
