"""`ludus view RUN`: the run's report."""

import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ludus.cli.errors import UsageError


@dataclass(frozen=True)
class View:
    """Write a run's report from its files and open it in the browser; works while the run goes on, too."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN", help_behavior_hint="")]
    """The run: its folder, or its name under runs/."""
    no_open: bool = False
    """Only write the report and print its path."""

    def execute(self) -> int:
        directory = run_directory(self.run)
        from ludus.report import write_report

        report = write_report(directory)
        print(report)
        if not self.no_open and not webbrowser.open(report.resolve().as_uri()):
            print("no browser to open it in: open the file yourself")
        return 0


def run_directory(text: str) -> Path:
    """The folder of a run, named by its path or its name under `runs/`.

    Raises:
        UsageError: there is none.
    """
    for directory in (Path(text), Path("runs") / text):
        if (directory / "config.toml").is_file():
            return directory
    runs = sorted(path.parent.name for path in Path("runs").glob("*/config.toml"))
    there = f"runs/ has {', '.join(runs)}" if runs else "runs/ has none; `ludus train CONFIG` makes one"
    raise UsageError(f"{text} is no run (a folder with a config.toml): {there}")
