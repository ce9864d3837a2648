"""`curves.png`: the run in one picture, for a README or a message."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ludus.report.run_files import Run


def draw_curves(run: Run) -> bytes:
    figure = Figure(figsize=(11, 6.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
