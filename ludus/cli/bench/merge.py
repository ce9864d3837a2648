"""`ludus bench merge OUT SHARD…`: one run from its shards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ludus.cli.bench.compare import run_folder
from ludus.cli.errors import INCOMPLETE


@dataclass(frozen=True)
class BenchMerge:
    """Join the shards of a benchmark that `--shard i/n` played, and write the results of the whole."""

    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT", help_behavior_hint="")]
    """The folder of the whole run, which must be new or empty."""
    shards: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SHARD …", help_behavior_hint="")
    ]
    """The shards: their folders, or their names under runs/bench/."""
    prices: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """A TOML file of prices, as for `ludus bench`."""

    def execute(self) -> int:
        from ludus.agents.bench.directory import open_folder
        from ludus.agents.bench.merge import merge
        from ludus.agents.bench.prices import price_of, read_prices
        from ludus.cli.bench.progress import watch
        from ludus.cli.bench.table import print_outcome
        from ludus.cli.errors import UsageError
        from ludus.report.bench.page import write_bench_report

        if not self.shards:
            raise UsageError("nothing to merge: name the folders of all shards after OUT")
        folders = [open_folder(run_folder(shard)) for shard in self.shards]
        price = None
        if self.prices is not None:
            price = price_of(read_prices(self.prices), folders[0].settings.model)
        with watch("merge") as listener:
            outcome = merge(self.out, folders, listener, price)
        print_outcome(outcome)
        print(f"report: {write_bench_report(outcome)}")
        return INCOMPLETE if outcome.is_incomplete else 0
