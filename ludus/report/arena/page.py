"""An arena's report: one self-contained page with ratings, who beat whom, and games to replay."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ludus.agents.arena.folder import REPORT, Game
from ludus.agents.arena.schedule import Fixture
from ludus.agents.arena.standings import Line, Standings
from ludus.agents.ratings import expected_score
from ludus.report.arena.replay import replays, shown_games
from ludus.report.templates import render_page
from ludus.tools.files import write_file
from ludus.tools.wording import counted, number

_INTERVALS = (
    "Strengths of Bradley and Terry on Elo's scale: 200 points more are an expected score of 0.76, 400 of "
    "0.91. A win scores 1, a draw ½, a loss 0; where a game is about an amount, amounts count. Bars are 95% "
    "intervals by a bootstrap over pairs of games with one seed and the seats swapped. A hollow mark is an "
    "anchor, held at a known rating. Ahead is the distance to the next player: above 0, it tells them apart."
)


@dataclass(frozen=True)
class Cell:
    """A square of the table of who beat whom."""

    share: float
    """The score on average, 0 to 1."""
    title: str
    payoff: float


def write_arena_report(found: Standings, games: Mapping[Fixture, Game], folder: Path) -> Path:
    """Write `report.html` into an arena's folder.

    Raises:
        OSError: it cannot be written.
    """
    return write_file(folder / REPORT, render(found, games))


def render(found: Standings, games: Mapping[Fixture, Game]) -> str:
    settings = found.settings
    low, high = _ends(found.lines)
    shown = shown_games(games)
    return render_page(
        "arena/page.html.jinja",
        styles=["bench/page.css", "arena/page.css"],
        scripts=["arena/replay.js"],
        settings=settings,
        found=found,
        headline=_headline(found),
        lede=_lede(found),
        facts=_facts(found),
        intervals_note=_INTERVALS,
        strips=[_strip(line, low, high) for line in found.lines],
        ends=(number(low), number(high)),
        cells=[[_cell(found, line.name, other.name) for other in found.lines] for line in found.lines],
        has_values=any(line.exploitability is not None for line in found.lines),
        has_repeats=len(shown) < len(games),
        replays=Markup(replays(settings, shown)),
    )


def _ends(lines: tuple[Line, ...]) -> tuple[float, float]:
    """The ends of the axis, at round numbers."""
    values = [
        value
        for line in lines
        if line.rating is not None
        for value in (line.rating.elo.low, line.rating.elo.value, line.rating.elo.high)
    ] or [0.0]
    return 100 * (min(values) // 100), 100 * (max(values) // 100 + 1)


def _strip(line: Line, low: float, high: float) -> Markup:
    """A player's rating on the axis, with its interval."""

    def x(value: float) -> str:
        return f"{2 + 96 * (value - low) / (high - low):.2f}%"

    parts = [Markup('<line class="axis" x1="2%" x2="98%" y1="50%" y2="50%"/>')]
    spoken = f"{line.name}: no rating"
    if line.rating is not None:
        elo = line.rating.elo
        spoken = f"{line.name}: {elo.value:.0f}, {elo.low:.0f} to {elo.high:.0f}"
        parts.append(
            Markup('<line class="interval c-blue" x1="{}" x2="{}" y1="50%" y2="50%"/>').format(
                x(elo.low), x(elo.high)
            )
        )
        held = " held" if line.rating.anchored else ""
        parts.append(
            Markup('<circle class="point c-blue{}" cx="{}" cy="50%" r="5.5"/>').format(held, x(elo.value))
        )
    svg = Markup('<svg class="dumbbell" role="img" aria-label="{}">{}</svg>')
    return svg.format(spoken, Markup("").join(parts))


def _cell(found: Standings, one: str, other: str) -> Cell | None:
    met = found.meetings.get((one, other))
    if met is None:
        return None
    by_name = {line.name: line.rating for line in found.lines}
    mine, theirs = by_name[one], by_name[other]
    expected = ""
    if mine is not None and theirs is not None:
        expected = f"; {number(expected_score(mine.elo.value - theirs.elo.value))} by the ratings"
    title = f"{one} scored {number(met.points)} in {counted(met.games, 'game')} with {other}{expected}"
    return Cell(met.points / met.games, title, met.payoff)


def _headline(found: Standings) -> str:
    first = found.lines[0]
    if first.rating is None:
        return f"{found.settings.game}: nobody has a rating yet"
    ahead = first.rating.ahead
    how = "is the strongest" if ahead is not None and ahead.low > 0 else "leads, but not for certain"
    return f"{first.name} {how} at {found.settings.game}"


def _lede(found: Standings) -> str:
    settings = found.settings
    how = "everybody against everybody" if settings.schedule == "round-robin" else "a Swiss tournament"
    return (
        f"{counted(len(settings.players), 'player')}, {how}, {settings.games} games a meeting: "
        f"{counted(found.games, 'game')}."
    )


def _facts(found: Standings) -> list[tuple[str, str, str]]:
    settings, first = found.settings, found.first_seat
    between = f"{number(first.low)} to {number(first.high)}" if first.low == first.low else ""
    facts = [
        ("The first seat scores", number(first.value), between),
        ("Faults", str(found.faults), "count for nobody"),
        ("Seed", str(settings.seed), ""),
        ("Lost by errors", f"after {settings.error_limit}", "illegal or malformed moves"),
        ("Ludus", settings.ludus, ""),
    ]
    if settings.reply_seconds is not None:
        facts.append(("Time for a reply", f"{settings.reply_seconds:g} s", ""))
    if settings.arguments:
        given = ", ".join(f"{key}={value!r}" for key, value in settings.arguments.items())
        facts.append(("Arguments", given, ""))
    if settings.sampling:
        facts.append(("Temperature of models", f"{settings.sampling['temperature']:g}", ""))
    return facts
