"""`ludus view RUN`: the run's report."""

import webbrowser
from dataclasses import dataclass
from typing import Annotated

import tyro

from ludus.cli.runs import run_directory


@dataclass(frozen=True)
class View:
    """Write a run's report from its files and open it in the browser; this also works during the run."""

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
