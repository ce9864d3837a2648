"""What a person sees while a run trains: estimates of the time left, the live display, plain lines."""

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ludus.cli import progress
from ludus.cli.progress import LiveProgress, PlainProgress, Tracker, draw, sparkline
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.listener import Listener


def config(**sections: object) -> RunConfig:
    values = {
        "environment": {"id": "ludus/Arithmetic-v0"},
        "sft": {"steps": 100, "batch_episodes": 10},
        "grpo": {"steps": 50, "groups": 4, "group_size": 5},
        "evaluation": {"episodes": 40},
        **sections,
    }
    return parse_config(values)


def advance(tracker: Tracker, phase: str, start: float, each: float, units: range) -> float:
    """Report finished units every `each` seconds; returns the time after the last."""
    now = start
    for unit in units:
        now += each
        tracker.advance(phase, unit, {}, now)  # type: ignore[arg-type]
    return now


def test_nothing_measured_gives_no_estimate() -> None:
    tracker = Tracker(config())
    assert tracker.seconds_left(0.0) is None
    tracker.begin("model", 0, 0, 0.0)
    assert tracker.seconds_left(1.0) is None


def test_the_last_phase_is_extrapolated_from_its_own_pace() -> None:
    tracker = Tracker(config())
    tracker.begin("evaluation-final", 40, 0, 100.0)
    now = advance(tracker, "evaluation-final", 100.0, 0.5, range(1, 11))
    assert tracker.seconds_left(now) == pytest.approx(30 * 0.5)
    assert tracker.seconds_left(now + 0.25) == pytest.approx(30 * 0.5 - 0.25)
    assert tracker.seconds_left(now + 99) == pytest.approx(29 * 0.5)


def test_later_phases_are_guessed_from_what_was_measured() -> None:
    tracker = Tracker(config())
    tracker.begin("evaluation-primed", 40, 0, 0.0)
    advance(tracker, "evaluation-primed", 0.0, 0.1, range(1, 41))
    tracker.end("evaluation-primed", 4.0)
    tracker.begin("grpo", 50, 0, 4.0)
    grpo = 50 * 20 * 2 * 0.1
    assert tracker.seconds_left(4.0) == pytest.approx(grpo + 40 * 0.1)
    now = advance(tracker, "grpo", 4.0, 3.0, range(1, 11))
    assert tracker.seconds_left(now) == pytest.approx(40 * 3.0 + 40 * 0.1)


def test_a_resumed_phase_counts_only_what_it_does_now() -> None:
    tracker = Tracker(config(evaluation={"episodes": 0}))
    tracker.begin("grpo", 50, 40, 0.0)
    now = advance(tracker, "grpo", 0.0, 2.0, range(41, 46))
    assert tracker.seconds_left(now) == pytest.approx(5 * 2.0)


def test_phases_that_are_left_out_cost_nothing() -> None:
    tracker = Tracker(config(grpo={"steps": 0}, evaluation={"episodes": 0}))
    tracker.begin("sft", 100, 0, 0.0)
    now = advance(tracker, "sft", 0.0, 1.0, range(1, 101))
    assert tracker.seconds_left(now) == 0.0


def tell_a_whole_run(listener: Listener) -> None:
    """Every call of a whole run, in order."""
    listener.note("model: small, 1.1 million parameters")
    listener.phase_begun("model", 0, 0)
    listener.phase_ended("model", 1.0)
    listener.phase_begun("demonstrations", 2, 0)
    listener.progressed("demonstrations", 2, {"success": 1.0, "reward": 1.0})
    listener.phase_ended("demonstrations", 1.0)
    listener.phase_begun("sft", 2, 0)
    listener.progressed("sft", 1, {"loss": 2.5, "tokens_per_second": 12345.0})
    listener.progressed("sft", 2, {"loss": 1.5, "heldout_loss": 1.75, "tokens_per_second": 12345.0})
    listener.phase_ended("sft", 1.0)
    listener.phase_begun("evaluation-primed", 1, 0)
    listener.progressed("evaluation-primed", 1, {"success": 0.0, "reward": 0.25})
    listener.phase_ended("evaluation-primed", 1.0)
    listener.phase_begun("grpo", 2, 1)
    listener.progressed("grpo", 2, {"reward": 0.75, "success": 0.625, "entropy": 0.5, "unknown": 1.0})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is 11 seconds after the last."""
    ticks = itertools.count(0.0, 11.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks))


@pytest.mark.usefixtures("clock")
def test_plain_lines_without_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=200)
    tell_a_whole_run(PlainProgress(Tracker(config()), console))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in text
    assert "model: small, 1.1 million parameters" in text
    assert "priming 2/2  loss 1.50  held-out loss 1.75  tokens/s 12,345" in text
    assert "GRPO from 1 to 2 ..." in text
    assert "success 0.625" in text
    assert "left " in text


def test_plain_lines_do_not_come_with_every_step() -> None:
    console = Console(file=io.StringIO(), width=200)
    listener = PlainProgress(Tracker(config()), console)
    listener.phase_begun("sft", 1000, 0)
    for step in range(1, 1001):
        listener.progressed("sft", step, {"loss": 1.0})
    assert len(console.file.getvalue().splitlines()) < 10  # type: ignore[attr-defined]


def test_the_live_display_shows_phase_step_metrics_and_time_left() -> None:
    tracker = Tracker(config())
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    listener = LiveProgress(tracker, "ludus/Arithmetic-v0 → runs/test", console)
    with listener.live:
        tell_a_whole_run(listener)
    drawn = Console(file=io.StringIO(), width=100, color_system=None)
    drawn.print(draw(tracker, "ludus/Arithmetic-v0 → runs/test", 0.0, progress.time.monotonic()))
    text = drawn.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("runs/test", "✓ priming 1.0 s", "● GRPO", "2/2", "reward", "0.750", "entropy", "left"):
        assert expected in text
    assert "unknown" not in text


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_a_sparkline_has_the_right_length_and_ends(values: list[float]) -> None:
    line = sparkline(values)
    assert len(line) == min(40, len(values))
    assert set(line) <= set("▁▂▃▄▅▆▇█")
    if len(values) <= 40 and max(values) > min(values):
        assert line[values.index(max(values))] == "█"
        assert line[values.index(min(values))] == "▁"
