"""What the exports of a benchmark share."""

from pathlib import Path

from ludus.agents.bench.directory import BenchError


def new_folder(out: Path) -> None:
    """Make an empty folder.

    Raises:
        BenchError: it is there and not empty, or it is a file.
        OSError: it cannot be made.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BenchError(f"{out} is not an empty folder: choose another one")
    out.mkdir(parents=True, exist_ok=True)
