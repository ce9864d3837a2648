"""The figure: success against tokens, for a page and as a picture."""

import io
import re
from collections.abc import Sequence

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from ludus.agents.scaling.curves import Curve
from ludus.report.run.curves import COLOURS, HAIR, INK, SOFT

_MARKERS = {"single": "*", "majority": "o", "best-of": "D", "beam": "s", "mcts": "^", "revision": "v"}
_BY = {"reward": "ochre", "outcome": "teal", "process": "violet"}
"""Colours of what a curve goes by, by its first word; of other scorers: grey."""
_OWN = {"single": "grey", "majority": "blue", "revision": "rose"}
"""Colours of curves that go by nothing."""


def picture(curves: Sequence[Curve], title: str) -> bytes:
    """A PNG."""
    return _drawn(curves, title, "png", "white")


def markup(curves: Sequence[Curve]) -> Markup:
    """An SVG whose colours are those of the page, light or dark."""
    text = _drawn(curves, "", "svg", "none").decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    names = {**{value: name for name, value in COLOURS.items()}, INK: "ink", SOFT: "soft", HAIR: "hair"}
    for value, name in names.items():
        text = text.replace(value, f"var(--{name})")
    return Markup(
        text.replace("<svg ", '<svg class="scaling" role="img" aria-label="Success against tokens" ', 1)
    )


def _drawn(curves: Sequence[Curve], title: str, form: str, paper: str) -> bytes:
    figure = Figure(figsize=(10, 6.2), dpi=150, layout=ConstrainedLayoutEngine(), facecolor=paper)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor="none")
    for curve in curves:
        tokens = [point.sampled for point in curve.points]
        success = [point.success.value for point in curve.points]
        colour = COLOURS[_BY.get(curve.by.split()[0], "grey") if curve.by else _OWN[curve.family]]
        style = "--" if curve.sees_rewards else "-"
        is_single = curve.family == "single"
        axes.plot(
            tokens,
            success,
            style,
            color=colour,
            label=curve.name,
            linewidth=1.6,
            marker=_MARKERS[curve.family],
            markersize=12 if is_single else 5,
            zorder=3 if is_single else 2,
        )
        low, high = zip(*((point.success.low, point.success.high) for point in curve.points), strict=True)
        if len(tokens) > 1:
            axes.fill_between(tokens, low, high, color=colour, alpha=0.1, linewidth=0)
        else:
            axes.vlines(tokens, low, high, color=colour, linewidth=1.2)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    if all(point.sampled > 0 for curve in curves for point in curve.points):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=14))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens:,.10g}"))
    axes.set_xlabel("tokens that the model sampled, per task", fontsize=9, color=SOFT)
    axes.set_ylabel("success", fontsize=9, color=SOFT)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    highest = max((point.success.high for curve in curves for point in curve.points), default=1.0)
    axes.set_ylim(0, min(1.02, max(0.05, 1.15 * highest)))
    axes.tick_params(colors=SOFT, labelsize=9, length=0)
    axes.grid(color=HAIR, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    figure.legend(fontsize=9, frameon=False, labelcolor=INK, loc="outside right upper")
    file = io.BytesIO()
    # The same numbers give the same file.
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "ludus", "font.family": "sans-serif"}
    ):
        figure.savefig(file, format=form, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()
