"""Runs by folder or by name, and the command that continues one."""

import re
import shlex
from pathlib import Path

from ludus.cli.errors import UsageError

RUNS = Path("runs")
CONFIG = "config.toml"


def run_directory(text: str) -> Path:
    """The folder of a run, named by its path or its name under `runs/`.

    Raises:
        UsageError: there is no such run.
    """
    for directory in (Path(text), RUNS / text):
        if (directory / CONFIG).is_file():
            return directory
    runs = sorted(path.parent.name for path in RUNS.glob(f"*/{CONFIG}"))
    there = f"{RUNS}/ has {', '.join(runs)}" if runs else f"{RUNS}/ has none; `ludus train CONFIG` makes one"
    raise UsageError(f"{text} is not a run (a folder with a {CONFIG}): {there}")


def slug(text: str) -> str:
    """The text in a form that can be part of a folder's name."""
    text = re.sub(r"\bludus/|^scripted:|^https?://|^runs/|\bmodels/(?=final$|primed$)", "", text)
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:60] or "run"


def resume_command(directory: Path) -> str:
    """The command that continues a run."""
    return f"`ludus train {shlex.quote(str(directory / CONFIG))} --resume`"
