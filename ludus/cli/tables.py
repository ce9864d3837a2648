"""Tables in a terminal."""

from rich.console import Console
from rich.table import Table


def print_whole(table: Table) -> None:
    """As wide as the table needs: a narrower terminal wraps its lines, and no name or figure is cut off."""
    width = Console(width=1000).measure(table).maximum
    Console(width=max(width, Console().width)).print(table)
