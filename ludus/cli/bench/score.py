"""`ludus bench score LOG`: the results of an agent from outside."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ludus.cli.errors import INCOMPLETE, UsageError
from ludus.cli.options import OutputFolder
from ludus.cli.runs import RUNS

_STATUSES = ((100, 400), (400, 500), (500, 600), (0, 1))
"""Ranges of HTTP status codes: answered, refused as wrong, broken, no answer."""


@dataclass(frozen=True)
class BenchScore:
    """Measure an agent from outside by the log of its episodes, which `ludus serve mcp ID --log FILE` and
    `ludus serve tools --env ID --log FILE` write.

    An episode that the agent gave up counts as a failure, one that broke has no score. Of a log of
    `ludus serve tools` without --env, which knows no tasks, calls, errors and seconds are printed for each
    world.
    """

    log: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="LOG", help_behavior_hint="")]
    """The log."""
    name: str = ""
    """Who played, for the table. Default: the log's name."""
    out: OutputFolder = None
    """The folder of the results, which must be new or empty. Default: runs/bench/NAME."""

    def execute(self) -> int:
        if not self.log.is_file():
            raise UsageError(
                f"there is no log {self.log}: `ludus serve mcp ID --log FILE` writes one, and so does `ludus "
                "serve tools --env ID --log FILE`"
            )
        with open(self.log, "rb") as file:
            if file.read(1) == b"{":
                return _show_calls(self.log)

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


def _show_calls(path: Path) -> int:
    """A table of the calls to tool services, a row for each world and service."""
    from collections import defaultdict

    import numpy as np
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ludus.cli.tables import figure, print_whole
    from ludus.tools.services.call_log import Call, CallLogError, read_calls

    rows: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in read_calls(path):
        rows[call.world, call.service].append(call)
    if not rows:
        raise CallLogError(f"{path} has no whole line: the server was killed before it answered a call")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("world", "service"):
        table.add_column(name)
    for name in ("calls", "answered", "refused", "broken", "no answer", "seconds: p50", "p90", "p99"):
        table.add_column(name, justify="right", no_wrap=True)
    for (world, service), calls in sorted(rows.items()):
        kinds = [sum(low <= call.status < high for call in calls) for low, high in _STATUSES]
        seconds = np.percentile([call.seconds for call in calls], [50, 90, 99])
        cells = [world or "(shared)", f"/{service}", *map(str, (len(calls), *kinds))]
        table.add_row(*map(Text, cells), *(figure(float(value)) for value in seconds))
    print_whole(table)
    return 0
