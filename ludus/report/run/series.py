"""A panel's contents: a curve for each line, and the held-out evaluations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ludus.agents.statistics import Interval
from ludus.report.run.comparison import Row
from ludus.report.run.files import Metrics
from ludus.report.run.panels import Colour, Line, Panel
from ludus.report.run.smoothing import Curve, exact, smooth


@dataclass(frozen=True)
class Mark:
    """An evaluation, drawn as a diamond with its interval."""

    step: float
    interval: Interval
    colour: Colour


def curve(panel: Panel, line: Line, metrics: Metrics) -> Curve:
    steps, values = metrics.columns[line.metric]
    if panel.exact:
        return exact(steps, values)
    limits = panel.limits or ((0.0, math.inf) if panel.from_zero and values.min() >= 0 else None)
    return smooth(steps, values, limits)


def heldout_marks(panel: Panel, rows: Sequence[Row], last_step: int) -> list[Mark]:
    """Before the first step and after the last; none for a panel that shows no held-out measure."""
    row = next((row for row in rows if row.kind == "outcome" and row.name == panel.heldout), None)
    if row is None:
        return []
    stages: tuple[tuple[int, Interval | None, Colour], ...] = (
        (0, row.before, "ochre"),
        (last_step, row.after, "blue"),
    )
    return [Mark(step, interval, colour) for step, interval, colour in stages if interval is not None]
