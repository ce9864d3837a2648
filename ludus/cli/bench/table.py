"""A benchmark's outcome for a terminal: a table of metrics, and one of what went wrong."""

import math

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ludus.agents.bench.metrics import Figures
from ludus.agents.bench.run import Outcome
from ludus.agents.evaluate import Interval, fault_share, left_out
from ludus.cli.tables import figure, print_whole
from ludus.tools.wording import environment_title


def print_outcome(outcome: Outcome) -> None:
    console = Console()
    settings = outcome.folder.settings
    for note in outcome.notes:
        style = "bold red" if "NOT COMPARABLE" in note else "yellow"
        console.print(Text(f"note: {note}", style=style), soft_wrap=True)
    who = settings.model if settings.agent == "direct" else f"{settings.model} · {settings.agent}"
    head = f"{settings.suite} · {who} · tasks {outcome.folder.tasks.digest}"
    console.print(Text(head, style="bold"), soft_wrap=True)
    print_whole(figures_table(outcome))
    if missing := left_out(sum(result.is_fault for result in outcome.results), len(outcome.results)):
        console.print(Text(missing, style="red"), soft_wrap=True)
    for line in trouble_lines(outcome):
        console.print(Text(line), soft_wrap=True)
    how = "95% intervals cluster by task: bootstrap over tasks; shares: Wilson's at the effective sample size"
    console.print(Text(how, style="dim"), soft_wrap=True)


def figures_table(outcome: Outcome) -> Table:
    repeats = outcome.folder.settings.repeats
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", max_width=36)
    columns = ["reward", "success", "95%"]
    if repeats > 1:
        columns += [f"pass@{repeats}", f"pass^{repeats}", f"maj@{repeats}"]
    for name in (*columns, "turns", "tokens", "seconds", "faults"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in outcome.rows:
        table.add_row(*_cells(environment_title(row.tasks.label), row.figures, repeats))
        for name, figures in row.baselines.items():
            table.add_row(*_cells(f"  {name}", figures, repeats), style="dim")
    return table


def _cells(name: str, figures: Figures, repeats: int) -> list[str]:
    success = figures.success
    cells = [
        name,
        _value(figures.reward),
        _value(success),
        f"{figure(success.low)} to {figure(success.high)}" if figures.tasks else "–",
    ]
    if repeats > 1:
        cells += [
            _value(figures.pass_at.get(repeats)),
            _value(figures.pass_hat.get(repeats)),
            _value(figures.majority),
        ]
    return [
        *cells,
        figure(figures.turns, 1),
        figure(figures.completion_tokens or math.nan, 0),  # a scripted agent has none
        figure(figures.seconds, 3),
        fault_share(figures.faults, figures.episodes),
    ]


def trouble_lines(outcome: Outcome) -> list[str]:
    """For each environment: failed tool calls, and how episodes ended."""
    lines = []
    for row in outcome.rows:
        figures = row.figures
        parts = [f"{count} {reason}" for reason, count in figures.stops.items()]
        if figures.calls > 0:
            wrong = ", ".join(f"{count} {kind}" for kind, count in figures.errors.items()) or "none wrong"
            parts.append(f"{figure(figures.calls, 1)} tool calls per episode ({wrong})")
        lines.append(f"{row.tasks.label.removeprefix('ludus/')}: {'; '.join(parts)}")
    return lines


def _value(interval: Interval | None) -> str:
    return figure(interval.value) if interval is not None else "–"
