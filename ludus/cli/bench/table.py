"""A benchmark's outcome for a terminal: a table of metrics, and one of what went wrong."""

import math
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ludus.agents.bench.metrics import Figures
from ludus.agents.bench.outcome import Outcome, Row
from ludus.agents.evaluate import left_out
from ludus.agents.pass_at import Share
from ludus.agents.statistics import Bounds
from ludus.cli.tables import figure, print_whole
from ludus.tools.wording import environment_title

GRAVE = ("NOT COMPARABLE", "INCOMPLETE", "DIFFER")
"""Words of notes without which the figures would mislead."""


def print_outcome(outcome: Outcome) -> None:
    console = Console()
    settings = outcome.folder.settings
    print_notes(console, outcome.notes)
    who = settings.model if settings.agent == "direct" else f"{settings.model} · {settings.agent}"
    head = f"{settings.suite} · {who} · tasks {outcome.folder.tasks.digest}"
    console.print(Text(head, style="bold"), soft_wrap=True)
    print_whole(figures_table(outcome))
    faults = sum(result.is_fault for result in outcome.results)
    refusals = sum(result.is_refusal for result in outcome.results)
    if missing := left_out(faults, len(outcome.results), refusals):
        console.print(Text(missing, style="red"), soft_wrap=True)
    for line in trouble_lines(outcome):
        console.print(Text(line), soft_wrap=True)
    how = "95% intervals cluster by task: bootstrap over tasks; shares: Wilson's at the effective sample size"
    if faults + refusals:
        how += "; [bounds]: episodes without a score as failures, and as successes"
    console.print(Text(how, style="dim"), soft_wrap=True)


def print_notes(console: Console, notes: Iterable[str]) -> None:
    for note in notes:
        style = "bold red" if any(words in note for words in GRAVE) else "yellow"
        console.print(Text(f"note: {note}", style=style), soft_wrap=True)


def figures_table(outcome: Outcome) -> Table:
    repeats = outcome.folder.settings.repeats
    is_whole = all(result.is_scored for result in outcome.results)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", max_width=36)
    columns = ["reward", "success", "95%"]
    if not is_whole:
        columns.append("[bounds]")
    if repeats > 1:
        columns += [f"pass@{repeats}", f"pass^{repeats}", f"maj@{repeats}"]
    columns += ["turns", "tokens", "seconds", "scored"]
    for name in columns if is_whole else [*columns, "faults", "refused"]:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for row in outcome.rows:
        table.add_row(*_cells(environment_title(row.tasks.label), row.figures, repeats, is_whole))
        for name, figures in row.kinds.items():
            table.add_row(*_cells(f"  · {name}", figures, repeats, is_whole))
        for name, figures in row.baselines.items():
            table.add_row(*_cells(f"  {name}", figures, repeats, is_whole), style="dim")
    return table


def _cells(name: str, figures: Figures, repeats: int, is_whole: bool) -> list[Text]:
    success = figures.success
    cells = [
        name,
        figure(figures.reward.value),
        figure(success.value),
        f"{figure(success.low)} to {figure(success.high)}" if figures.tasks else "–",
    ]
    if not is_whole:
        cells.append(_bounds(figures.success_bounds))
    if repeats > 1:
        shares = (figures.pass_at.get(repeats), figures.pass_hat.get(repeats), figures.majority)
        cells += [_share(share, figures.scored < figures.episodes) for share in shares]
    cells += [
        figure(figures.turns, 1),
        figure(figures.completion_tokens or math.nan, 0),  # a scripted agent has none
        figure(figures.seconds, 3),
        f"{figures.scored}/{figures.episodes}",
    ]
    if not is_whole:
        cells += [str(figures.faults), str(figures.refusals)]
    return [Text(cell) for cell in cells]


def trouble_lines(outcome: Outcome) -> list[str]:
    """For each environment: what became of its episodes, failed tool calls, spoilt replies, latency and
    cost."""
    return [f"{environment_title(row.tasks.label)}: {'; '.join(_trouble(row))}" for row in outcome.rows]


def _trouble(row: Row) -> list[str]:
    figures = row.figures
    parts = [", ".join(f"{count} {verdict}" for verdict, count in figures.verdicts.items()) or "not played"]
    if figures.calls > 0:
        wrong = ", ".join(f"{count} {kind}" for kind, count in figures.errors.items()) or "none wrong"
        parts.append(f"{figure(figures.calls, 1)} tool calls per episode ({wrong})")
    if figures.cut:
        parts.append(f"{figures.cut} replies cut off by the token limit")
    if figures.malformed:
        parts.append(f"{figures.malformed} replies that the server itself refused as malformed")
    if figures.completion_tokens > 0:
        waits = ", ".join(f"p{q} {figure(seconds, 2)}" for q, seconds in figures.turn_seconds.items())
        parts.append(f"seconds for a turn: {waits}")
    if figures.reasoning_tokens > 0 or figures.cached_tokens > 0:
        parts.append(
            f"{figure(figures.reasoning_tokens, 0)} reasoning and {figure(figures.cached_tokens, 0)} cached "
            "tokens per episode"
        )
    if figures.cost is not None:
        parts.append(f"${figures.cost:,.4f}")
    return parts


def _share(share: Share | None, has_bounds: bool) -> str:
    if share is None:
        return "–"
    return figure(share.estimate.value) + (f" {_bounds(share.bounds)}" if has_bounds else "")


def _bounds(bounds: Bounds) -> str:
    return f"[{figure(bounds.low)}, {figure(bounds.high)}]" if bounds.low == bounds.low else "–"
