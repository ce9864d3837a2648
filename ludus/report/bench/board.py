"""The page of a leaderboard."""

from pathlib import Path

from markupsafe import Markup

from ludus.agents.bench.board import Board, Entry
from ludus.report.templates import render_page
from ludus.tools.files import write_file
from ludus.tools.wording import environment_title, number


def write_board(board: Board, path: Path) -> Path:
    """
    Raises:
        OSError: it cannot be written.
    """
    return write_file(path, render(board))


def render(board: Board) -> str:
    best = board.entries[0]
    return render_page(
        "bench/board.html.jinja",
        styles=["bench/page.css"],
        board=board,
        best=best,
        environments=[environment_title(name) for name in board.environments],
        strips=[_strip(entry) for entry in board.entries],
        has_cost=any(entry.cost is not None for entry in board.entries),
        standings=[entry.standing(best) for entry in board.entries],
    )


def _strip(entry: Entry) -> Markup:
    """Success on an axis from 0 to 1, with its interval; behind it, thinner, the bounds."""

    def x(value: float) -> str:
        return f"{2 + 96 * value:.2f}%"

    success, bounds = entry.success, entry.bounds
    line = '<line class="{} c-blue" x1="{}" x2="{}" y1="50%" y2="50%"/>'
    parts = [Markup('<line class="axis" x1="2%" x2="98%" y1="50%" y2="50%"/>')]
    if success.value == success.value:
        if bounds.low < bounds.high:
            parts.append(Markup(line).format("bounds", x(bounds.low), x(bounds.high)))
        parts.append(Markup(line).format("interval", x(success.low), x(success.high)))
        point = Markup('<circle class="point c-blue" cx="{}" cy="50%" r="5.5"/>')
        parts.append(point.format(x(success.value)))
    svg = Markup('<svg class="dumbbell" role="img" aria-label="{}">{}</svg>')
    spoken = f"{entry.name}: success {number(success.value, 'percent')}"
    return svg.format(spoken, Markup("").join(parts))
