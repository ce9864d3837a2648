"""The progress of a benchmark: a live table in a terminal, plain lines elsewhere."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ludus.agents.bench.result import Result
from ludus.agents.bench.run import Listener
from ludus.agents.bench.tasks import TaskList
from ludus.agents.evaluate import fault_share
from ludus.cli.tables import figure
from ludus.tools.wording import counted, duration, environment_title

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines."""


@dataclass
class Tally:
    """One environment's sums so far."""

    label: str
    total: int
    episodes: int = 0
    faults: int = 0
    refusals: int = 0
    reward: float = 0.0
    successes: int = 0
    turns: int = 0
    tokens: int = 0

    def add(self, result: Result) -> None:
        self.episodes += 1
        self.faults += result.is_fault
        self.refusals += result.is_refusal
        if not result.is_scored:
            return
        self.reward += result.reward
        self.successes += result.success
        self.turns += result.turns
        self.tokens += result.completion_tokens

    @property
    def scored(self) -> int:
        return self.episodes - self.faults - self.refusals

    def mean(self, total: float) -> str:
        return figure(total / self.scored if self.scored else math.nan)


class BenchProgress(Listener):
    """Sums over the episodes played, for display."""

    def __init__(self) -> None:
        self.who = ""
        self.tallies: list[Tally] = []
        self.begun_at = time.monotonic()
        self.fresh = 0
        self.held_back = ""
        """Why the server is not asked faster."""
        self._starts: list[tuple[int, int]] = []

    def begun(self, who: str, tasks: TaskList, repeats: int, done: Sequence[Result]) -> None:
        self.tallies = [Tally(task_set.label, len(task_set.seeds) * repeats) for task_set in tasks.sets]
        self._starts = tasks.starts
        for result in done:
            self._tally(result).add(result)
        self.who, self.begun_at, self.fresh = who, time.monotonic(), 0

    def played(self, result: Result) -> None:
        if not self.fresh:
            self.begun_at = time.monotonic()  # the time before that was start-up
        self.fresh += 1
        self._tally(result).add(result)

    def paced(self, text: str) -> None:
        self.held_back = text

    def _tally(self, result: Result) -> Tally:
        return self.tallies[self._starts[result.task][0]]

    @property
    def counts(self) -> tuple[int, int]:
        return sum(tally.episodes for tally in self.tallies), sum(tally.total for tally in self.tallies)

    def pace(self, now: float) -> tuple[float, float | None]:
        """Episodes a second since playing began, and the seconds left at that pace."""
        seconds = now - self.begun_at
        rate = (self.fresh - 1) / seconds if self.fresh > 1 and seconds > 0 else 0.0
        done, total = self.counts
        return rate, (total - done) / rate if rate else None


class PlainBench(BenchProgress):
    """A line when playing begins, one every `PLAIN_SECONDS`, and one at the end."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._printed = 0.0

    def begun(self, who: str, tasks: TaskList, repeats: int, done: Sequence[Result]) -> None:
        super().begun(who, tasks, repeats, done)
        self._printed = time.monotonic()
        environments = ", ".join(tally.label for tally in self.tallies)
        there, total = self.counts
        already = f", {there} already done" if there else ""
        self._line(f"{who}: {counted(total, 'episode')} of {environments}{already} ...")

    def played(self, result: Result) -> None:
        super().played(result)
        now = time.monotonic()
        if now - self._printed >= PLAIN_SECONDS:
            self._printed = now
            rate, left = self.pace(now)
            done, total = self.counts
            faults = sum(tally.faults for tally in self.tallies)
            refusals = sum(tally.refusals for tally in self.tallies)
            scored = sum(tally.scored for tally in self.tallies)
            success = sum(tally.successes for tally in self.tallies) / scored if scored else math.nan
            self._line(
                f"{done}/{total}  success {figure(success)} of {scored}  {rate:.1f} episodes/s"
                f"{f'  faults {fault_share(faults, done)}' if faults else ''}"
                f"{f'  refused {fault_share(refusals, done)}' if refusals else ''}"
                f"{f'  left {duration(left)}' if left else ''}"
                f"{f'  {self.held_back}' if self.held_back else ''}"
            )

    def ended(self, who: str, episodes: int, seconds: float) -> None:
        if episodes:
            self._line(pace_line(who, episodes, seconds))

    def note(self, text: str) -> None:
        self._line(f"note: {text}")

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveBench(BenchProgress):
    """Redraws one table: the environments, the progress of each, and its results so far."""

    def __init__(self, title: str, console: Console) -> None:
        super().__init__()
        self._title = title
        self._lock = threading.Lock()
        self.live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def begun(self, who: str, tasks: TaskList, repeats: int, done: Sequence[Result]) -> None:
        with self._lock:
            super().begun(who, tasks, repeats, done)

    def played(self, result: Result) -> None:
        with self._lock:
            super().played(result)

    def ended(self, who: str, episodes: int, seconds: float) -> None:
        if episodes:
            self.live.console.print(pace_line(who, episodes, seconds), markup=False, highlight=False)

    def note(self, text: str) -> None:
        self.live.console.print(f"note: {text}", markup=False, highlight=False, style="yellow")

    def _render(self) -> RenderableType:
        with self._lock:
            return draw(self, self._title, time.monotonic())


def pace_line(who: str, episodes: int, seconds: float) -> str:
    rate = f", {episodes / seconds:,.1f} episodes/s" if seconds > 0 else ""
    return f"{who}: {counted(episodes, 'episode')} in {seconds:.1f} s{rate}"


def draw(progress: BenchProgress, title: str, now: float) -> RenderableType:
    """The live display at one moment."""
    rate, left = progress.pace(now)
    head = Table.grid(expand=True)
    head.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    head.add_column(justify="right", no_wrap=True)
    about = f"about {duration(left)} left" if left is not None else "estimating time left"
    head.add_row(
        Text.assemble((title, "bold"), f" · {progress.who}"), Text(f" {rate:,.1f} episodes/s · {about}")
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column("environment")
    table.add_column("", ratio=1)
    for name in ("scored", "reward", "success", "turns", "tokens", "faults", "refused"):
        table.add_column(name, justify="right")
    for tally in progress.tallies:
        table.add_row(
            environment_title(tally.label),
            ProgressBar(total=max(tally.total, 1), completed=tally.episodes),
            f"{tally.scored}/{tally.total}",
            tally.mean(tally.reward),
            tally.mean(tally.successes),
            figure(tally.turns / tally.scored if tally.scored else math.nan, 1),
            figure(tally.tokens / tally.scored if tally.tokens else math.nan, 0),
            *(
                Text(fault_share(count, tally.episodes), style="red" if count else "dim")
                for count in (tally.faults, tally.refusals)
            ),
        )
    held_back = [Text(progress.held_back, style="yellow")] if progress.held_back else []
    return Group(head, *held_back, table)


@contextmanager
def watch(title: str) -> Iterator[Listener]:
    """A listener that draws on stderr if that is a terminal, or prints plain lines there."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainBench(console)
        return
    listener = LiveBench(title, console)
    with listener.live:
        yield listener
