"""The report of a run: one self-contained HTML file, and its curves as a picture."""

from ludus.report.run.write import write_report

__all__ = ["write_report"]
