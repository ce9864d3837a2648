"""Panels to inline SVG. Pure: numbers in, markup out; colours come from the page's style sheet."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from ludus.agents.statistics import Interval
from ludus.report.run.panels import Panel
from ludus.report.run.series import Mark
from ludus.report.run.smoothing import Curve, Floats
from ludus.tools.wording import number

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 352, 10, 166
MOST_DOTS = 300
"""A long run draws only every k-th step as a dot, so that the page stays small."""
LIMIT_AT = 80
"""Where the limit stands in a gauge, in percent of its width; the rest shows what lies beyond."""


@dataclass(frozen=True)
class Legend:
    label: str
    colour: str
    latest: str
    """The curve's last value, as text."""


@dataclass(frozen=True)
class Chart:
    svg: Markup
    legend: tuple[Legend, ...]


@dataclass(frozen=True)
class _Scale:
    """Data to pixels: linear, `low` at `start`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def chart(panel: Panel, curves: Sequence[Curve], group: str, marks: Sequence[Mark] = ()) -> Chart:
    """One panel.

    Args:
        curves: One for each of the panel's lines. group: Charts with the same group share their steps; the
            pointer in one moves the cursor in all.
    """
    base = (
        [np.zeros(len(curves[0].at)), *np.cumsum([c.smooth for c in curves], axis=0)] if panel.stacked else []
    )
    x = _x_scale(curves, marks)
    y = _y_scale(panel, curves, marks, base)
    parts = [_grid(panel, x, y)]
    for i, (line, curve) in enumerate(zip(panel.lines, curves, strict=True)):
        if panel.stacked:
            parts.append(_tag("path", f"area c-{line.colour}", d=_band(curve.at, base[i], base[i + 1], x, y)))
            continue
        banded = np.isfinite(curve.low)
        if banded.any():
            band = _band(curve.at[banded], curve.low[banded], curve.high[banded], x, y)
            parts.append(_tag("path", f"band c-{line.colour}", d=band))
        every = -(-len(curve.steps) // MOST_DOTS)
        dots = "dots" if banded.any() or panel.exact else "dots few"
        d = _dots(curve.steps[::every], curve.raw[::every], x, y)
        parts.append(_tag("path", f"{dots} c-{line.colour}", d=d))
        parts.append(_tag("path", f"line c-{line.colour}", d="M" + _points(curve.at, curve.smooth, x, y)))
    parts += [_mark(mark, x, y) for mark in marks]
    data = {
        "group": group,
        "unit": panel.unit,
        "x": [x.low, x.high, x.start, x.end],
        "y": [y.low, y.high, y.start, y.end],
        "lines": [
            {
                "at": _rounded(curve.at),
                "value": _rounded(curve.smooth),
                "top": _rounded(base[i + 1] if panel.stacked else curve.smooth),
                "colour": line.colour,
            }
            for i, (line, curve) in enumerate(zip(panel.lines, curves, strict=True))
        ],
    }
    spoken = "; ".join(
        f"{line.label} from {number(c.smooth[0], panel.unit)} to {number(c.smooth[-1], panel.unit)}"
        for line, c in zip(panel.lines, curves, strict=True)
    )
    svg = Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" tabindex="0" aria-label="{}" data-chart="{}">'
        '{}<g class="cursor"></g></svg>'
    ).format(WIDTH, HEIGHT, f"{panel.title}: {spoken}", json.dumps(data), Markup("").join(parts))
    legend = tuple(
        Legend(line.label, line.colour, number(float(curve.smooth[-1]), panel.unit))
        for line, curve in zip(panel.lines, curves, strict=True)
    )
    return Chart(svg, legend)


def dumbbell(before: Interval | None, after: Interval | None, low: float, high: float, label: str) -> Markup:
    """Two estimates with their intervals on one axis from `low` to `high`."""
    x = _Scale(low, high, 3, 97)
    parts = [_rule("axis", 0, 100)]
    if before and after:
        parts.append(_rule("shift", x(before.value), x(after.value)))
    for interval, colour in ((before, "ochre"), (after, "blue")):
        if interval:
            parts.append(
                _rule(f"interval c-{colour}", x(max(interval.low, low)), x(min(interval.high, high)))
            )
            parts.append(
                Markup('<circle class="point c-{}" cx="{:.2f}%" cy="50%" r="5.5"/>').format(
                    colour, x(interval.value)
                )
            )
    return Markup('<svg class="dumbbell" role="img" aria-label="{}">{}</svg>').format(
        label, Markup("").join(parts)
    )


def gauge(nearness: float, decades: int, label: str) -> Markup:
    """How near a value came to its limit, which is a line across the bar at `LIMIT_AT`.

    Args:
        nearness: 0 far from the limit, 1 at it, above 1 beyond it.
        decades: How many powers of ten lie between the left end and the limit, with a tick at each; 0 for a
            linear scale.
    """
    reached = nearness
    if decades:
        reached = 1 + math.log10(nearness) / decades if nearness > 0 else 0.0
    x = _Scale(0, 1, 4, LIMIT_AT)
    end = min(x(max(reached, 0.0)), 96.0)
    upright = Markup('<line class="{}" x1="{:.2f}%" x2="{:.2f}%" y1="{}%" y2="{}%"/>').format
    ticks = [upright("tick", x(k / decades), x(k / decades), 30, 70) for k in range(decades)]
    parts = [_rule("axis", x(0), 100), *ticks, _rule("reach", x(0), end)]
    parts.append(upright("limit", LIMIT_AT, LIMIT_AT, 0, 100))
    parts.append(Markup('<circle class="point" cx="{:.2f}%" cy="50%" r="4.5"/>').format(end))
    return Markup('<svg class="gauge{}" role="img" aria-label="{}">{}</svg>').format(
        " beyond" if nearness > 1 else "", label, Markup("").join(parts)
    )


def _rule(css: str, start: float, end: float) -> Markup:
    """A horizontal line at half height; in percent, so that it fills any page width."""
    return Markup('<line class="{}" x1="{:.2f}%" x2="{:.2f}%" y1="50%" y2="50%"/>').format(css, start, end)


def axis_range(intervals: Sequence[Interval]) -> tuple[float, float]:
    """An axis that covers zero and all intervals, with some space beyond."""
    low, high = min(0.0, *(i.low for i in intervals)), max(0.0, *(i.high for i in intervals))
    if high == low:
        return 0.0, 1.0
    air = 0.05 * (high - low)
    return low - air if low < 0 else 0.0, high + air if high > 0 else 0.0


def _x_scale(curves: Sequence[Curve], marks: Sequence[Mark]) -> _Scale:
    ends = [c.at[0] for c in curves] + [c.at[-1] for c in curves] + [m.step for m in marks]
    low, high = float(min(ends)), float(max(ends))
    return _Scale(low, high, LEFT, RIGHT) if high > low else _Scale(low - 1, high + 1, LEFT, RIGHT)


def _y_scale(panel: Panel, curves: Sequence[Curve], marks: Sequence[Mark], base: Sequence[Floats]) -> _Scale:
    if panel.stacked:
        values = np.concatenate([*base])
    else:
        values = np.concatenate([np.concatenate([c.raw, c.smooth]) for c in curves])
    values = np.concatenate([values, [e for m in marks for e in (m.interval.low, m.interval.high)]])
    low, high = float(values.min()), float(values.max())
    if panel.from_zero:
        low = min(0.0, low)
    if panel.limits and panel.from_zero and high > panel.limits[1] / 2:
        high = panel.limits[1]
    if high - low < 1e-12:
        low, high = (low - 0.5, high + 0.5) if low or not panel.from_zero else (0.0, 1.0)
    air = 0.04 * (high - low)
    top = high + air if panel.limits is None else min(high + air, panel.limits[1])
    bottom = low if panel.from_zero and low == 0 else low - air
    return _Scale(bottom, top, BOTTOM, TOP)


def _grid(panel: Panel, x: _Scale, y: _Scale) -> Markup:
    parts = []
    for tick in _ticks(y.low, y.high, 4):
        parts.append(_tag("path", "rule", d=f"M{LEFT} {y(tick):.1f}H{RIGHT}"))
        parts.append(_text(LEFT - 6, y(tick) + 3.5, _tick_label(tick, panel.unit), "end"))
    for tick in _ticks(x.low, x.high, 5, integer=True):
        parts.append(_text(x(tick), BOTTOM + 16, f"{tick:,.0f}", "middle"))
    return Markup("").join(parts)


def _ticks(low: float, high: float, count: int, integer: bool = False) -> list[float]:
    ticks = MaxNLocator(nbins=count, integer=integer, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    air = 1e-9 * (high - low)
    return [float(tick) for tick in ticks if low - air <= tick <= high + air]


def _tick_label(value: float, unit: str) -> str:
    if unit == "percent":
        return f"{100 * value:g}%"
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k".replace("-", "−")
    text = f"{value:.1e}".replace("e-0", "e-") if 0 < abs(value) < 0.001 else f"{round(value, 6):g}"
    return text.replace("-", "−")


def _points(at: Floats, values: Floats, x: _Scale, y: _Scale) -> str:
    return "L".join(f"{x(a):.1f} {y(v):.1f}" for a, v in zip(at, values, strict=True))


def _band(at: Floats, low: Floats, high: Floats, x: _Scale, y: _Scale) -> str:
    inside = np.clip(np.stack([low, high]), min(y.low, y.high), max(y.low, y.high))
    return f"M{_points(at, inside[1], x, y)}L{_points(at[::-1], inside[0][::-1], x, y)}Z"


def _dots(at: Floats, values: Floats, x: _Scale, y: _Scale) -> str:
    """Lines of zero length, which round caps turn into dots: one element for all of them."""
    return "".join(f"M{x(a):.1f} {y(v):.1f}h0" for a, v in zip(at, values, strict=True))


def _mark(mark: Mark, x: _Scale, y: _Scale) -> Markup:
    px, py = x(mark.step), y(mark.interval.value)
    return Markup('<path class="whisker c-{}" d="{}"/><path class="diamond c-{}" d="{}"/>').format(
        mark.colour, f"M{px:.1f} {y(mark.interval.low):.1f}V{y(mark.interval.high):.1f}",
        mark.colour, f"M{px:.1f} {py - 5:.1f}l5 5l-5 5l-5 -5Z",
    )  # fmt: skip


def _tag(name: str, css: str, d: str) -> Markup:
    return Markup('<{} class="{}" d="{}"/>').format(name, css, d)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
        f"{x:.1f}", f"{y:.1f}", anchor, text
    )


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.4g}") for value in values]
