"""`Limits`: what one program may use."""

from dataclasses import dataclass, fields

from ludus.tools.errors import UserError


@dataclass(frozen=True)
class Limits:
    """What one program may use, including its children.

    Raises:
        UserError: a limit is not a number above 0, or `processes` is not an integer.
    """

    wall_s: float = 2.0
    """Seconds until everything it started is killed."""
    cpu_s: float = 2.0
    """Seconds of processor time, for all its processes together."""
    memory_mb: int = 256
    """MiB of memory beyond what the interpreter holds at the start, for all its processes together."""
    processes: int = 32
    """Processes and threads, including itself. After 10 ms the sandbox may use one of them for itself."""
    output_kb: int = 64
    """KiB of stdout, and as many of stderr."""
    disk_mb: int = 64
    """MiB in its work directory, which also holds at most 64 files for each of these MiB."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
                raise UserError(f"Limits: {field.name}={value!r} must be a number above 0")
        if not isinstance(self.processes, int):
            raise UserError(f"Limits: processes={self.processes!r} must be an integer above 0")

    @property
    def files(self) -> int:
        """The maximum number of files and folders in the work directory."""
        return max(64, int(self.disk_mb * 64))
