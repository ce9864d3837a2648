"""The progress of a training run: a live display in a terminal, plain lines elsewhere."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import get_args

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ludus.tools.wording import duration, number
from ludus.trainers.config.run import RunConfig
from ludus.trainers.listener import Listener, Phase

PHASES: tuple[Phase, ...] = get_args(Phase)
TITLES: dict[Phase, str] = {
    "model": "model",
    "data": "data",
    "demonstrations": "demonstrations",
    "sft": "priming",
    "evaluation-primed": "evaluation",
    "rft": "rejection sampling",
    "preferences": "preferences",
    "grpo": "GRPO",
    "evaluation-best": "evaluation of the best weights",
    "evaluation-final": "evaluation",
    "episodes": "episodes to label",
    "steps": "rollouts from their steps",
    "reward_model": "reward model",
}
SHOWN: dict[str, str] = {
    "reward": "reward",
    "success": "success",
    "fault_share": "fault share",
    "loss": "loss",
    "heldout_loss": "held-out loss",
    "accuracy": "accuracy",
    "margin": "margin",
    "entropy": "entropy",
    "kl": "KL to primed",
    "completion_tokens": "tokens per turn",
    "tokens_per_second": "tokens/s",
}
"""The metrics to show, in order, with readable names. A phase shows those that it reports."""
PLAIN_SECONDS = 10.0
"""Seconds between two plain lines within a phase."""
_WINDOW = 20
_BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass
class PhaseState:
    """The progress of a phase."""

    total: int
    begun: float
    completed: int
    seconds: float | None = None
    """How long it took, once it has ended."""
    marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_WINDOW + 1))
    """When the last few units were done: (time, completed)."""
    history: dict[str, list[float]] = field(default_factory=dict)

    @property
    def metrics(self) -> list[tuple[str, list[float]]]:
        """(readable name, history) of each metric that the phase reports, in the order of `SHOWN`."""
        return [(title, self.history[name]) for name, title in SHOWN.items() if name in self.history]

    @property
    def unit_seconds(self) -> float | None:
        """Seconds per unit over the last few; None before the first is done."""
        (then, before), (now, after) = self.marks[0], self.marks[-1]
        return (now - then) / (after - before) if after > before else None


class Tracker:
    """Follows a run's phases and estimates the time left. Pure bookkeeping: the caller passes the time."""

    def __init__(self, config: RunConfig) -> None:
        episodes = config.evaluation.episodes * config.evaluation.samples if config.played else 0
        self.expected: dict[Phase, int] = {
            "data": len(config.sft.data),
            "demonstrations": config.sft.demonstrations if config.sft.demonstrates else 0,
            "sft": config.sft.steps,
            "evaluation-primed": episodes,
            "rft": config.rft.iterations * config.rft.steps,
            "preferences": config.preferences.steps,
            "grpo": config.grpo.steps,
            "evaluation-best": episodes if config.grpo.steps and config.validation.every else 0,
            "evaluation-final": episodes,
            "episodes": 0,
            "steps": 0,
            "reward_model": 0,
        }
        if (section := config.reward_model) is not None:
            self.expected = dict.fromkeys(PHASES, 0) | {"data": 1, "reward_model": section.steps}
            self.expected["episodes"] = section.tasks * section.samples if section.plays else 0
            self.expected["steps"] = self.expected["episodes"] * section.rollouts  # a step each, at least
        self._step_episodes = config.grpo.groups * config.grpo.group_size
        self._sft_episodes = config.sft.batch_episodes
        self.states: dict[Phase, PhaseState] = {}
        self.current: Phase | None = None

    def begin(self, phase: Phase, total: int, completed: int, now: float) -> None:
        state = PhaseState(total, now, completed)
        state.marks.append((now, completed))
        self.states[phase] = state
        self.current = phase

    def advance(self, phase: Phase, completed: int, metrics: Mapping[str, float], now: float) -> None:
        state = self.states[phase]
        state.completed = completed
        state.marks.append((now, completed))
        for name in SHOWN:
            if name in metrics:
                state.history.setdefault(name, []).append(metrics[name])

    def end(self, phase: Phase, seconds: float) -> None:
        self.states[phase].seconds = seconds

    def seconds_left(self, now: float) -> float | None:
        """Estimated seconds until the run ends; None while nothing has been measured."""
        if self.current is None:
            return None
        left = 0.0
        for phase in PHASES[PHASES.index(self.current) :]:
            state = self.states.get(phase)
            if state is not None and state.seconds is not None:
                continue
            units = state.total - state.completed if state is not None else self.expected.get(phase, 0)
            if not units:
                continue
            unit = self._unit_seconds(phase)
            if unit is None:
                return None
            since = now - state.marks[-1][0] if state is not None else 0.0
            left += max(0.0, units * unit - min(since, unit))
        return left

    def _unit_seconds(self, phase: Phase) -> float | None:
        """Measured in this phase, or estimated from an earlier one that does similar work."""
        state = self.states.get(phase)
        if state is not None and state.unit_seconds is not None:
            return state.unit_seconds
        if phase.startswith("evaluation"):
            played = self._measured("evaluation-primed")
            trained = self._measured("sft")
            if played is not None or trained is None:
                return played
            return trained / self._sft_episodes
        if phase == "grpo":
            # An episode there is sampled, scored and trained on, which costs about twice as much as playing
            # it.
            played = self._unit_seconds("evaluation-primed")
            return 2 * played * self._step_episodes if played is not None else None
        return None

    def _measured(self, phase: Phase) -> float | None:
        state = self.states.get(phase)
        return state.unit_seconds if state is not None else None


class PlainProgress(Listener):
    """Prints a line when a phase begins or ends, and one every `PLAIN_SECONDS` in between."""

    def __init__(self, tracker: Tracker, console: Console) -> None:
        self._tracker = tracker
        self._console = console
        self._printed = float("-inf")

    def phase_begun(self, phase: Phase, total: int, completed: int) -> None:
        self._printed = time.monotonic()
        self._tracker.begin(phase, total, completed, self._printed)
        done = f" from {completed}" if completed else ""
        self._line(f"{TITLES[phase]}{done}{f' to {total}' if total else ''} ...")

    def progressed(self, phase: Phase, completed: int, metrics: Mapping[str, float]) -> None:
        now = time.monotonic()
        self._tracker.advance(phase, completed, metrics, now)
        if now - self._printed >= PLAIN_SECONDS:
            self._printed = now
            self._line(self._summary(phase))

    def phase_ended(self, phase: Phase, seconds: float) -> None:
        self._tracker.end(phase, seconds)
        self._line(f"{self._summary(phase)}  done in {duration(seconds)}")

    def note(self, text: str) -> None:
        self._line(text)

    def _summary(self, phase: Phase) -> str:
        state = self._tracker.states[phase]
        parts = [f"{TITLES[phase]} {state.completed}/{state.total}" if state.total else TITLES[phase]]
        parts += [f"{title} {number(values[-1])}" for title, values in state.metrics]
        left = self._tracker.seconds_left(time.monotonic())
        if left:
            parts.append(f"left {duration(left)}")
        return "  ".join(parts)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveProgress(Listener):
    """Redraws one block in the terminal: the phases, a bar, the metrics with their history, the time left."""

    def __init__(self, tracker: Tracker, title: str, console: Console) -> None:
        self._tracker = tracker
        self._title = title
        self._lock = threading.RLock()  # Ctrl-C notes come from a signal handler, even during drawing
        self._begun = time.monotonic()
        self.live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def phase_begun(self, phase: Phase, total: int, completed: int) -> None:
        with self._lock:
            self._tracker.begin(phase, total, completed, time.monotonic())

    def progressed(self, phase: Phase, completed: int, metrics: Mapping[str, float]) -> None:
        with self._lock:
            self._tracker.advance(phase, completed, metrics, time.monotonic())

    def phase_ended(self, phase: Phase, seconds: float) -> None:
        with self._lock:
            self._tracker.end(phase, seconds)

    def note(self, text: str) -> None:
        self.live.console.print(text, markup=False, highlight=False)

    def _render(self) -> RenderableType:
        with self._lock:
            return draw(self._tracker, self._title, self._begun, time.monotonic())


def draw(tracker: Tracker, heading: str, begun: float, now: float) -> RenderableType:
    """The live display at one moment."""
    left = tracker.seconds_left(now)
    head = Table.grid(expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right")
    about = f"about {duration(left)} left" if left is not None else "estimating time left"
    head.add_row(Text(heading, style="bold"), Text(f"{duration(now - begun)} so far · {about}"))
    parts: list[RenderableType] = [head, _phases(tracker)]
    if tracker.current is not None:
        state = tracker.states[tracker.current]
        if state.total:
            bar = Table.grid(expand=True, padding=(0, 1))
            bar.add_column(ratio=1)
            bar.add_column(justify="right")
            bar.add_row(
                ProgressBar(total=state.total, completed=state.completed),
                Text(f"{state.completed}/{state.total}"),
            )
            parts.append(bar)
        if state.metrics:
            metrics = Table.grid(padding=(0, 2))
            metrics.add_column(style="dim")
            metrics.add_column(justify="right")
            metrics.add_column(style="cyan")
            for title, values in state.metrics:
                metrics.add_row(title, number(values[-1]), sparkline(values))
            parts.append(metrics)
    return Group(*parts)


def _phases(tracker: Tracker) -> Text:
    """`✓ model 0:02  ● priming  · evaluation …`"""
    line = Text()
    for phase in PHASES:
        state = tracker.states.get(phase)
        if state is None and phase in tracker.expected and not tracker.expected[phase]:
            continue
        if state is None:
            line.append(f"· {TITLES[phase]}  ", style="dim")
        elif state.seconds is None:
            line.append(f"● {TITLES[phase]}  ", style="bold cyan")
        else:
            line.append(f"✓ {TITLES[phase]} {duration(state.seconds)}  ", style="green")
    return line


def sparkline(values: list[float], width: int = 40) -> str:
    """The history of a metric in at most `width` blocks, each the mean of a stretch."""
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(_BLOCKS[int((mean - low) / span * (len(_BLOCKS) - 1))] for mean in means)


@contextmanager
def watch(config: RunConfig, directory: Path) -> Iterator[Listener]:
    """A listener that draws in the terminal, or prints plain lines if there is none."""
    console = Console()
    tracker = Tracker(config)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainProgress(tracker, console)
        return
    names = [environment.id for environment in config.played] or [*config.sft.data, *config.preferences.data]
    listener = LiveProgress(tracker, f"{', '.join(names)} → {directory}", console)
    with listener.live:
        yield listener
