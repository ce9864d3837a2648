"""What a sandbox says about a program that ran in it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class SandboxFault(RuntimeError):
    """The sandbox broke, through no fault of the program in it."""


class Verdict(StrEnum):
    """How a program ended."""

    OK = "ok"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    DISK_LIMIT = "disk_limit"
    REFUSED = "refused"
    """It asked the kernel for something that no program here may have, and was killed for it."""


@dataclass(frozen=True)
class Result:
    """What became of one program. Its output, files and exit code are as hostile as the program is."""

    verdict: Verdict
    exit_code: int | None
    """None where it did not exit by itself."""
    signal: int | None
    """What killed it, or None."""
    stdout: str
    """Cut off at the limit; bytes that are not UTF-8 become U+FFFD."""
    stderr: str
    files: dict[str, bytes] = field(default_factory=dict)
    """Those of `files_out` that exist as regular files and fit the disk limit."""
    seconds: float = 0.0
    """Wall time."""
    peak_memory: int = 0
    """Bytes that its largest process had in memory."""


@dataclass(frozen=True)
class Value:
    """What one call of a function gave, as the guest tells it: a JSON value, or an error."""

    value: Any = None
    error: str | None = None


@dataclass(frozen=True)
class CallResult:
    """What `call` came to."""

    values: list[Value]
    """One for each input, in order; fewer where the program was stopped before the end."""
    result: Result
