"""The curves of a measurement for a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ludus.agents.scaling.curves import Curve
from ludus.cli.tables import figure, print_whole, signed_figure


def print_curves(curves: Sequence[Curve], title: str, notes: Sequence[str]) -> None:
    """Each curve at its budgets."""
    console = Console()
    for note in notes:
        console.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)
    console.print(Text(title, style="bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for name in ("", "success", "95%", "sampled", "read", "scorer's", "over the vote", "95%"):
        table.add_column(name, justify="right", no_wrap=True)
    for curve in curves:
        for number, point in enumerate(curve.points):
            over = point.over_majority
            known = over.value == over.value
            table.add_row(
                Text("" if number else curve.name + (" *" if curve.sees_rewards else "")),
                point.setting,
                figure(point.success.value),
                f"{figure(point.success.low)} to {figure(point.success.high)}",
                *(figure(tokens, 0) for tokens in (point.sampled, point.read, point.judged or float("nan"))),
                signed_figure(over.value) if known else "–",
                f"{signed_figure(over.low)} to {signed_figure(over.high)}" if known else "",
            )
        table.add_section()
    print_whole(table)
    console.print(
        Text(
            "* looks at the environment's rewards: an upper bound. Tokens per task. Over the vote: success "
            "less that of the majority vote at as many sampled tokens. Intervals by a bootstrap over tasks.",
            style="dim",
        ),
        soft_wrap=True,
    )
