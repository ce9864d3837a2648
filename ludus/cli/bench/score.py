"""`ludus bench score LOG`: the results of an agent from outside."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ludus.cli.errors import INCOMPLETE, UsageError
from ludus.cli.options import OutputFolder
from ludus.cli.runs import RUNS


@dataclass(frozen=True)
class BenchScore:
    """Measure an agent from outside by the log of its episodes, which `ludus serve mcp ID --log FILE` writes.

    An episode that the agent gave up counts as a failure, one that broke has no score.
    """

    log: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="LOG", help_behavior_hint="")]
    """The log."""
    name: str = ""
    """Who played, for the table. Default: the log's name."""
    out: OutputFolder = None
    """The folder of the results, which must be new or empty. Default: runs/bench/NAME."""

    def execute(self) -> int:
        if not self.log.is_file():
            raise UsageError(f"there is no log {self.log}: `ludus serve mcp ID --log FILE` writes one")

        from ludus.agents.bench.episode_log import score
        from ludus.cli.bench.progress import watch
        from ludus.cli.bench.table import print_outcome
        from ludus.report.bench.page import write_bench_report

        name = self.name or self.log.stem
        with watch("score") as listener:
            outcome = score(self.log, self.out or RUNS / "bench" / name.replace("/", "-"), name, listener)
        print_outcome(outcome)
        print(f"report: {write_bench_report(outcome)}")
        return INCOMPLETE if outcome.is_incomplete else 0
