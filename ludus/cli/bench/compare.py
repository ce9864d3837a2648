"""`ludus bench compare A B`: paired differences of two benchmark runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ludus.cli.runs import RUNS
from ludus.tools.wording import environment_title

if TYPE_CHECKING:
    from ludus.agents.bench.compare import Comparison
    from ludus.agents.bench.directory import Folder


@dataclass(frozen=True)
class BenchCompare:
    """Compare two benchmark runs task by task: B minus A, with 95% intervals from a bootstrap over tasks.

    Runs on different task lists are compared on the tasks that they share.
    """

    a: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="A", help_behavior_hint="")]
    """The first run: its folder, or its name under runs/bench/."""
    b: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="B", help_behavior_hint="")]
    """The second run."""
    json: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Print JSON instead of a table."""

    def execute(self) -> int:
        import json

        from ludus.agents.bench.compare import compare
        from ludus.agents.bench.directory import open_folder

        a, b = open_folder(run_folder(self.a)), open_folder(run_folder(self.b))
        comparison = compare(a, b)
        if self.json:
            print(json.dumps({"a": str(a.path), "b": str(b.path), **comparison.to_dict()}, indent=1))
        else:
            _show(a, b, comparison)
        return 0


def run_folder(text: str) -> Path:
    """A run's folder, from its path or its name under runs/bench/."""
    named = RUNS / "bench" / text
    return named if named.is_dir() and not Path(text).exists() else Path(text)


def _show(a: "Folder", b: "Folder", comparison: "Comparison") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ludus.cli.bench.table import print_notes
    from ludus.cli.tables import figure, print_whole, signed_figure

    console = Console()
    print_notes(console, comparison.notes)
    for letter, folder in (("A", a), ("B", b)):
        settings = folder.settings
        console.print(Text(f"{letter}  {folder.path}: {settings.model} · {settings.agent}"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", max_width=36)
    for name in (
        "tasks",
        "reward A",
        "B",
        "B − A",
        "95%",
        "success A",
        "B",
        "B − A",
        "95%",
        "better",
        "worse",
        "scored A",
        "B",
        "winner",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for difference in comparison.differences:
        cells = [environment_title(difference.environment), str(difference.tasks)]
        for left, right, change in (
            (difference.a_reward, difference.b_reward, difference.reward),
            (difference.a_success, difference.b_success, difference.success),
        ):
            interval = f"{signed_figure(change.low)} to {signed_figure(change.high)}"
            cells += [figure(left), figure(right), signed_figure(change.value), interval]
        table.add_row(
            *cells,
            str(difference.better),
            str(difference.worse),
            f"{difference.a_scored}/{difference.a_episodes}",
            f"{difference.b_scored}/{difference.b_episodes}",
            difference.winner or "not significant",
        )
    print_whole(table)
    for difference in comparison.differences:
        if difference.winner == "undecided":
            a_bounds, b_bounds = difference.a_bounds, difference.b_bounds
            console.print(
                Text(
                    f"{environment_title(difference.environment)}: undecided, as episodes without a score "
                    f"could turn it around: success of A is from {figure(a_bounds.low)} to "
                    f"{figure(a_bounds.high)}, of B from {figure(b_bounds.low)} to {figure(b_bounds.high)}",
                    style="yellow",
                ),
                soft_wrap=True,
            )
    console.print(
        Text(
            "Intervals: bootstrap over tasks of the difference; each task counts once. A winner: the "
            "interval excludes 0, and random changes of sign give p ≤ 0.05.",
            style="dim",
        ),
        soft_wrap=True,
    )
