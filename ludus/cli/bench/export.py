"""`ludus bench export RUN OUT --to FORM`: a run for other tools."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ludus.cli.bench.compare import run_folder


@dataclass(frozen=True)
class BenchExport:
    """Write a benchmark run in the form of other tools, with every conversation."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN", help_behavior_hint="")]
    """The run: its folder, or its name under runs/bench/."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT", help_behavior_hint="")]
    """The folder to write, which must be new or empty."""
    to: Literal["inspect", "datasets"]
    """inspect: logs of Inspect AI, one for each environment, which `inspect view --log-dir OUT` shows.
    datasets: Parquet files and a card, which `datasets.load_dataset(OUT, ENVIRONMENT)` reads."""

    def execute(self) -> int:
        from ludus.agents.bench.directory import open_folder

        folder = open_folder(run_folder(self.run))
        if self.to == "inspect":
            from ludus.agents.bench.inspect_log import export_inspect as export
        else:
            from ludus.agents.bench.dataset import export_dataset as export
        for path in export(folder, self.out):
            print(path)
        return 0
