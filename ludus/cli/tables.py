"""Tables and figures in a terminal: figures of one column have the same number of decimals."""

from rich.console import Console
from rich.table import Table


def print_whole(table: Table) -> None:
    """As wide as the table needs: a narrower terminal wraps its lines, and no name or number is cut off."""
    width = Console(width=1000).measure(table).maximum
    Console(width=max(width, Console().width)).print(table)


def figure(value: float, decimals: int = 3) -> str:
    """An en dash where there is none (not-a-number)."""
    return f"{value:,.{decimals}f}" if value == value else "–"


def signed_figure(value: float) -> str:
    """With its sign; never -0.000."""
    return f"{round(value, 3) + 0.0:+.3f}"
