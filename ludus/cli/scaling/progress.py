"""The progress of a measurement: a bar for each method in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ludus.agents.episode import Episode
from ludus.agents.scaling.run import Listener
from ludus.cli.tables import figure

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines."""


class PlainScaling(Listener):
    """A line when a method begins and one every `PLAIN_SECONDS`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.done = self.total = self.fresh = self.won = 0
        self._printed = 0.0

    def begun(self, method: str, done: int, total: int) -> None:
        self.done, self.total, self.fresh, self.won = done, total, 0, 0
        self._printed = time.monotonic()
        self.line(f"{method}: {total:,}{f', {done:,} already there' if done else ''} ...")

    def played(self, method: str, episode: Episode) -> None:
        self.fresh += 1
        self.won += episode.success
        self._advance(1, f"  success {figure(self.won / self.fresh)}")

    def scored(self, method: str, count: int) -> None:
        self._advance(count, "")

    def note(self, text: str) -> None:
        self.line(f"note: {text}")

    def line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _advance(self, count: int, more: str) -> None:
        self.done += count
        if time.monotonic() - self._printed >= PLAIN_SECONDS:
            self._printed = time.monotonic()
            self.line(f"{self.done:,} of {self.total:,}{more}")


class LiveScaling(Listener):
    """A bar for each method."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._won: list[bool] = []

    def begun(self, method: str, done: int, total: int) -> None:
        self._won = []
        self._bars[method] = self._progress.add_task(method, total=total, completed=done, success="")

    def played(self, method: str, episode: Episode) -> None:
        self._won.append(episode.success)
        success = f"success {figure(sum(self._won) / len(self._won))}"
        self._progress.update(self._bars[method], advance=1, success=success)

    def scored(self, method: str, count: int) -> None:
        self._progress.update(self._bars[method], advance=count)

    def note(self, text: str) -> None:
        self._progress.console.print(f"note: {text}", markup=False, highlight=False, style="yellow")


@contextmanager
def watch() -> Iterator[Listener]:
    """A listener that draws on stderr if that is a terminal, or prints plain lines there."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainScaling(console)
        return
    with live(console) as listener:
        yield listener


@contextmanager
def live(console: Console) -> Iterator[Listener]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[success]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield LiveScaling(progress)
