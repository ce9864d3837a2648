"""`curves.png`: the run in one picture, for a README or a message."""

import io
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ludus.report.figures import words
from ludus.report.run.comparison import Row
from ludus.report.run.files import Metrics, Run, Trained
from ludus.report.run.panels import CYCLE, Line, Panel, learning_curves
from ludus.report.run.series import curve, heldout_marks

INK, SOFT, HAIR = "#1c2027", "#5b6370", "#e3e3dd"
COLOURS = {
    "blue": "#2a62b8",
    "ochre": "#b06c16",
    "teal": "#17776f",
    "violet": "#7449a8",
    "rose": "#b23a5b",
    "grey": "#6f7783",
}
"""The page's colours on a light background."""
STEPS = [1, 2, 2.5, 5, 10]
SHOWN: tuple[tuple[Trained, str], ...] = (
    ("grpo", "Success"),
    ("grpo", "Return"),
    ("sft", "Loss"),
    ("reward_model", "Loss"),
    ("preferences", "Accuracy"),
    ("preferences", "Implicit rewards"),
    ("grpo", "Entropy"),
    ("grpo", "Completion length"),
)


def draw_curves(run: Run, rows: Sequence[Row], headline: str) -> bytes:
    """A PNG of at most six panels: success, return, all reward terms in one, and metrics that explain
    them."""
    chosen = list(_panels(run))[:6]
    columns = min(3, max(1, len(chosen)))
    lines = max(1, -(-len(chosen) // columns))
    figure = Figure(
        figsize=(3.9 * columns, 2.75 * lines + 0.95),
        dpi=150,
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12),
        facecolor="white",
    )
    FigureCanvasAgg(figure)
    figure.suptitle(f"{run.environment}\n{headline}", x=0.012, ha="left", color=INK, fontsize=12)
    for place, (title, panel, metrics, drawn) in enumerate(chosen, 1):
        axes = figure.add_subplot(lines, columns, place)
        for line, style in drawn:
            _draw(axes, panel, line, metrics, style)
        for mark in heldout_marks(panel, rows, run.grpo.steps):
            colour, value = COLOURS[mark.colour], mark.interval
            axes.vlines(
                mark.step, value.low, value.high, color=colour, linewidth=1.2, zorder=4, clip_on=False
            )
            diamond = {"markersize": 5, "markeredgecolor": "white", "zorder": 5, "clip_on": False}
            axes.plot(mark.step, value.value, "D", color=colour, **diamond)  # type: ignore[arg-type]
        _finish(axes, title, panel, len(drawn) > 1)
    figure.supxlabel(
        "Dots: single steps. Bands: 95% interval of the smoothed line. "
        "Diamonds: held-out evaluation with its 95% interval.",
        x=0.012, ha="left", color=SOFT, fontsize=8,
    )  # fmt: skip
    if not chosen:
        figure.text(0.5, 0.4, "nothing has been trained yet", ha="center", color=SOFT)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _panels(run: Run) -> Iterable[tuple[str, Panel, Metrics, list[tuple[Line, str]]]]:
    """Title, panel, metrics, and each line's style: dashes for terms about the form of a reply."""
    groups = learning_curves(run)
    for phase, title in SHOWN:
        metrics = run.metrics(phase)
        for group in groups:
            for panel in group.panels:
                if (group.phase, panel.title) == (phase, title):
                    named = {
                        "Loss": "Priming loss",
                        "Success": "Success in training",
                        "Return": "Return in training",
                    }
                    yield named.get(title, title), panel, metrics, [(line, "-") for line in panel.lines]
        terms = [*run.grpo.names("terms/"), *run.grpo.names("form/")]
        if title == "Return" and terms:
            lines = [
                (
                    Line(metric, words(metric.partition("/")[2]), CYCLE[i % len(CYCLE)]),
                    "--" if metric.startswith("form/") else "-",
                )
                for i, metric in enumerate(terms)
            ]
            yield "Reward terms (form of the reply: dashed)", Panel("", "", ()), run.grpo, lines


def _draw(axes: Axes, panel: Panel, line: Line, metrics: Metrics, style: str) -> None:
    drawn, colour = curve(panel, line, metrics), COLOURS[line.colour]
    if panel.lines:
        axes.plot(drawn.steps, drawn.raw, ".", color=colour, alpha=0.3, markersize=3.5, markeredgewidth=0)
    axes.plot(drawn.at, drawn.smooth, style, color=colour, linewidth=1.8, label=line.label)
    if np.isfinite(drawn.low).any():
        axes.fill_between(drawn.at, drawn.low, drawn.high, color=colour, alpha=0.15, linewidth=0)


def _finish(axes: Axes, title: str, panel: Panel, legend: bool) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.tick_params(colors=SOFT, labelsize=8, length=0)
    axes.grid(axis="y", color=HAIR, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(HAIR)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=STEPS))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.set_xlabel("step", fontsize=8, color=SOFT)
    if panel.unit == "percent":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(0, 1.02 if axes.get_ylim()[1] > 0.5 else None)
    elif panel.from_zero:
        axes.set_ylim(bottom=0)
    if legend:
        axes.legend(fontsize=7.5, frameon=False, labelcolor=SOFT, ncols=2)
