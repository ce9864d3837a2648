"""The option `--log` of `ludus serve`."""

from pathlib import Path

from ludus.cli.errors import UsageError


def require_log_file(log: Path | None) -> None:
    """
    Raises:
        UsageError: there can be no such file.
    """
    if log is not None and (log.is_dir() or not log.absolute().parent.is_dir()):
        raise UsageError(f"--log {log}: name a file in a folder that exists")
