"""`ludus bench board RUN…`: a leaderboard."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ludus.cli.bench.compare import run_folder
from ludus.cli.errors import UsageError
from ludus.cli.options import OutputFile
from ludus.tools.wording import environment_title

if TYPE_CHECKING:
    from ludus.agents.bench.board import Board


@dataclass(frozen=True)
class BenchBoard:
    """Rank several benchmark runs on the same tasks, and compare each with the best.

    Differences are taken task by task; intervals and p-values are corrected for the number of runs (Holm).
    Where task lists differ, only the tasks in all of them count.
    """

    runs: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN …", help_behavior_hint="")
    ]
    """The runs: their folders, or their names under runs/bench/."""
    html: OutputFile = None
    """Also write the board as a page to this file."""
    prices: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """A TOML file of prices, as for `ludus bench`."""
    json: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Print JSON instead of a table."""

    def execute(self) -> int:
        import json

        from ludus.agents.bench.board import board
        from ludus.agents.bench.directory import open_folder
        from ludus.agents.bench.prices import read_prices

        if len(self.runs) < 2:
            raise UsageError("a board needs at least two runs: name their folders")
        prices = None if self.prices is None else read_prices(self.prices)
        made = board([open_folder(run_folder(run)) for run in self.runs], prices)
        if self.json:
            print(json.dumps(made.to_dict(), indent=1))
        else:
            _show(made)
        if self.html is not None:
            from ludus.report.bench.board import write_board

            path = write_board(made, self.html)
            if not self.json:
                print(f"page: {path}")
        return 0


def _show(board: "Board") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ludus.cli.bench.table import print_notes
    from ludus.cli.tables import figure, print_whole, signed_figure

    console = Console()
    print_notes(console, board.notes)
    head = f"{len(board.entries)} runs · {board.tasks} tasks" + (f" · {board.hash}" if board.hash else "")
    console.print(Text(head, style="bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    is_whole = all(entry.scored == entry.episodes for entry in board.entries)
    has_cost = any(entry.cost is not None for entry in board.entries)
    names = ["success", "95%"] + ([] if is_whole else ["[bounds]"]) + ["− best", "interval", "p (Holm)", ""]
    names += [environment_title(name) for name in board.environments] if len(board.environments) > 1 else []
    names += ["reward", "scored"] + (["faults", "refused"] if not is_whole else []) + ["cost"] * has_cost
    table.add_column("", max_width=40)
    for name in names:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for entry in board.entries:
        cells = [entry.name, figure(entry.success.value)]
        cells.append(f"{figure(entry.success.low)} to {figure(entry.success.high)}")
        if not is_whole:
            cells.append(f"[{figure(entry.bounds.low)}, {figure(entry.bounds.high)}]")
        if entry.behind is None:
            cells += ["", "", ""]
        else:
            cells.append(signed_figure(entry.behind.value))
            cells.append(f"{signed_figure(entry.behind.low)} to {signed_figure(entry.behind.high)}")
            cells.append("<0.001" if (entry.p or 0.0) < 0.001 else figure(entry.p or 0.0))
        cells.append(entry.standing(board.entries[0]))
        if len(board.environments) > 1:
            cells += [figure(share.value) for share in entry.environments]
        cells += [figure(entry.reward), f"{entry.scored}/{entry.episodes}"]
        if not is_whole:
            cells += [str(entry.faults), str(entry.refusals)]
        if has_cost:
            cells.append("–" if entry.cost is None else f"${entry.cost:,.4f}")
        table.add_row(*map(Text, cells))
    print_whole(table)
    console.print(
        Text(
            "Differences from the best, task by task; intervals and p-values are corrected for the number of "
            "runs (Holm). The best was chosen from these figures, so its own lead is a little flattered.",
            style="dim",
        ),
        soft_wrap=True,
    )
