"""An arena's standings for a terminal."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ludus.agents.arena.standings import Line, Standings
from ludus.cli.tables import figure, print_whole

_WRONG = ("illegal", "malformed", "forfeits", "time_outs", "faults")


def print_standings(found: Standings) -> None:
    console = Console()
    for note in found.notes:
        console.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)
    console.print(Text(title(found), style="bold"), soft_wrap=True)
    print_whole(standings_table(found))
    first = found.first_seat
    console.print(
        Text(
            f"the first seat scores {figure(first.value)} ({figure(first.low)} to {figure(first.high)}); "
            "95% intervals by a bootstrap over pairs of games with one seed; ahead: of the next player",
            style="dim",
        ),
        soft_wrap=True,
    )


def title(found: Standings) -> str:
    settings = found.settings
    how = "everybody against everybody" if settings.schedule == "round-robin" else "Swiss"
    return f"{settings.game} · {len(settings.players)} players, {how}, {settings.games} games a meeting"


def standings_table(found: Standings) -> Table:
    """The players, the strongest first; without columns for what has not happened."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    wrong = [name for name in _WRONG if any(getattr(line, name) for line in found.lines)]
    has_values = any(line.exploitability is not None for line in found.lines)
    columns = ["Elo", "95%", "ahead", "games", "won", "drawn", "lost", "first", "second", "payoff"]
    columns += ["exploitability"] * has_values + [name.replace("_", "-") for name in wrong]
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for line in found.lines:
        cells = [line.name, *_rating(line)]
        cells += [str(count) for count in (line.games, line.wins, line.draws, line.losses)]
        cells += [figure(line.as_first, 2), figure(line.as_second, 2), figure(line.payoff.value)]
        cells += ["–" if line.exploitability is None else figure(line.exploitability)] * has_values
        cells += [str(getattr(line, name)) for name in wrong]
        table.add_row(*map(Text, cells))
    return table


def _rating(line: Line) -> tuple[str, str, str]:
    if line.rating is None:
        return "–", "–", "–"
    elo, ahead = line.rating.elo, line.rating.ahead
    between = "held" if line.rating.anchored else f"{elo.low:,.0f} to {elo.high:,.0f}"
    distance = "–" if ahead is None else f"{ahead.value:,.0f} ({ahead.low:,.0f} to {ahead.high:,.0f})"
    return f"{elo.value:,.0f}", between, distance
