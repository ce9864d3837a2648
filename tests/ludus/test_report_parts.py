"""The report's parts: smoothing, the choice of episodes, transcripts, charts, pictures of games."""

import io
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.statistics import Interval
from ludus.envs.chat import content_images, image_part, text_part, tool_result
from ludus.report.figures import visible
from ludus.report.run.charts import LIMIT_AT, axis_range, chart, dumbbell, gauge
from ludus.report.run.files import Metrics
from ludus.report.run.gifs import LARGEST, MOST_FRAMES, encode
from ludus.report.run.pairs import heldout_pairs, match, training_pairs, typical
from ludus.report.run.panels import Line, Panel, strength
from ludus.report.run.series import Mark
from ludus.report.run.smoothing import FEWEST, MOST_POSITIONS, smooth
from ludus.report.run.trust import Check
from ludus.report.transcript import (
    CHARACTERS,
    IMAGE_CHARACTERS,
    SHADES,
    TOKENS,
    ShownCall,
    blocks,
    shade,
    show,
)
from ludus.tools.wording import duration, number, signed


def episode(seed: int, reward: float, success: bool = False, **changes: object) -> Episode:
    turn = Turn(
        [{"role": "user", "content": "?"}], {"role": "assistant", "content": "!"}, reward, {"correct": reward}
    )
    plain = Episode("ludus/Arithmetic-v0", {}, seed, f"task {seed}", (turn,), StopReason.TERMINATED, success)
    return replace(plain, **changes)  # type: ignore[arg-type]


# Games


def test_ratings_and_scores_are_drawn_by_game_anchors_and_past_checkpoints_apart() -> None:
    names = [
        *(f"rating/Nim/{name}" for name in ("elo", "elo_low", "elo_high")),
        *(f"rating/Nim/score/{name}" for name in ("random", "oracle:50", "league-000020", "given-old")),
        "opponents/self/score",
        "opponents/self/games",
        "seats/Nim/first/return",
        "seats/Nim/first/episodes",
    ]
    column = (np.array([1.0]), np.array([0.5]))
    panels = strength(Metrics(dict.fromkeys(names, column)))
    assert {panel.title: [line.label for line in panel.lines] for panel in panels} == {
        "Rating, Nim": ["rating", "95% from", "to"],
        "Score against anchors, Nim": ["random", "oracle:50"],
        "Score against past checkpoints, Nim": ["league-000020", "given-old"],
        "Score in training, by opponent": ["self"],
        "Return by seat": ["Nim first"],
    }


# Smoothing


@given(
    level=st.floats(-1e3, 1e3),
    slope=st.floats(-10, 10),
    count=st.integers(FEWEST, 400),
    first=st.integers(0, 1000),
    stride=st.integers(1, 50),
)
def test_a_straight_line_stays_itself_and_has_no_band(
    level: float, slope: float, count: int, first: int, stride: int
) -> None:
    steps = first + stride * np.arange(count, dtype=float)
    curve = smooth(steps, level + slope * steps)
    scale = abs(level) + abs(slope) * steps[-1] + 1
    assert np.allclose(curve.smooth, level + slope * curve.at, atol=1e-9 * scale)
    assert np.all(curve.high - curve.low < 1e-5 * scale)
    assert curve.at[0] == steps[0]
    assert curve.at[-1] == steps[-1]
    assert len(curve.at) <= MOST_POSITIONS


def test_the_band_holds_the_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(1.0, 101.0)
    truth = 0.2 + 0.5 * steps / 100
    inside = []
    for _ in range(300):
        curve = smooth(steps, truth + rng.normal(0, 0.1, 100))
        inside.append((curve.low <= truth) & (truth <= curve.high))
    by_position = np.mean(inside, axis=0)
    assert 0.92 < by_position.mean() < 0.97
    assert by_position.min() > 0.85


@given(st.lists(st.floats(0, 1), min_size=FEWEST, max_size=60))
def test_a_share_never_leaves_its_limits(values: list[float]) -> None:
    curve = smooth(np.arange(len(values), dtype=float), np.array(values), (0, 1))
    for line in (curve.smooth, curve.low, curve.high):
        assert np.all((line >= 0) & (line <= 1))
    assert np.all(curve.low <= curve.smooth)
    assert np.all(curve.smooth <= curve.high)


@pytest.mark.parametrize("count", range(1, FEWEST))
def test_too_few_steps_are_drawn_as_they_are(count: int) -> None:
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0])[:count]
    curve = smooth(np.arange(count, dtype=float), values)
    assert list(curve.smooth) == list(values)
    assert np.all(np.isnan(curve.low))


def test_the_window_suits_the_curve() -> None:
    """A fast fall without noise is followed; noise around a constant is averaged away."""
    steps = np.arange(1.0, 201.0)
    fall = 6 * np.exp(-steps / 15)
    assert np.abs(smooth(steps, fall).smooth - fall).max() < 0.2
    noise = np.random.default_rng(0).normal(0, 1, 200)
    assert np.abs(smooth(steps, noise).smooth).mean() < 0.4 * np.abs(noise).mean()


def test_steps_may_have_gaps() -> None:
    steps = np.array([1.0, 2, 3, 50, 51, 52, 53, 54, 55, 500, 501])
    curve = smooth(steps, 2 * steps)
    assert np.allclose(curve.smooth, 2 * curve.at)


# The choice of episodes


def test_each_kind_of_task_is_shown_failures_too() -> None:
    before = [episode(0, 0.0), episode(1, 1.0, True), episode(2, 0.1), episode(3, 1.0, True), episode(4, 0.0)]
    after = [
        episode(0, 1.0, True),
        episode(1, 0.2),
        episode(2, 0.1),
        episode(3, 1.0, True),
        episode(4, 0.9, True),
    ]
    pairs = heldout_pairs(match(before, after))
    shown = {pair.kind: (pair.left.seed if pair.left else None, pair.count) for pair in pairs}
    assert shown == {
        "solved only after training": (0, 2),
        "solved only before": (1, 1),
        "solved by neither": (2, 1),
        "solved by both": (3, 1),
    }
    for pair in pairs:
        assert pair.left is not None
        assert pair.right is not None
        assert (pair.left.task, pair.left.seed) == (pair.right.task, pair.right.seed)


def test_the_largest_gain_and_loss_are_shown_where_success_does_not_tell() -> None:
    before = [episode(seed, 0.0) for seed in range(5)]
    after = [episode(0, 0.3), episode(1, 0.7), episode(2, -0.4), episode(3, 0.0), episode(4, 0.7)]
    shown = {pair.kind: pair.left.seed for pair in heldout_pairs(match(before, after)) if pair.left}
    assert shown["higher return"] == 1  # the lower seed of two with the same gain
    assert "lower return" not in shown or shown["lower return"] == 2
    assert {2, 1} <= set(shown.values())


def test_order_does_not_choose_the_episodes() -> None:
    rng = np.random.default_rng(0)
    before = [episode(seed, float(rng.random()), bool(rng.random() < 0.5)) for seed in range(30)]
    after = [episode(seed, float(rng.random()), bool(rng.random() < 0.5)) for seed in range(30)]
    assert heldout_pairs(match(before, after)) == heldout_pairs(match(before[::-1], after[::-1]))


def test_faults_and_tasks_that_only_one_side_played_are_not_compared() -> None:
    fault = episode(1, 0.0, stop=StopReason.ENVIRONMENT_FAULT, fault="gone")
    matched = match(
        [episode(0, 0.0), fault, episode(2, 0.0)], [episode(0, 1.0), episode(1, 1.0), episode(3, 1.0)]
    )
    assert [pair[0].seed for pair in matched.pairs] == [0]
    assert matched.gains() == [1.0]


def test_training_pairs_are_median_extremes_and_oddities() -> None:
    cut = episode(9, 0.5)
    cut = replace(cut, turns=(replace(cut.turns[0], finish="length"),))
    early = [episode(seed, float(seed)) for seed in range(5)]
    pairs = training_pairs(early, [cut, episode(8, 3.0)])
    assert [(pair.left and pair.left.seed, pair.right and pair.right.seed) for pair in pairs] == [
        (2, 9),
        (0, 9),
        (4, 8),
        (None, 9),
    ]
    assert training_pairs([], []) == []


def test_the_game_on_show_is_typical_not_the_best() -> None:
    before = [episode(seed, 0.0) for seed in range(4)]
    after = [episode(0, 10.0), episode(1, 4.0), episode(2, 5.0), episode(3, 0.0)]
    pair = typical(match(before, after))
    assert pair is not None
    assert pair[1].seed == 2
    assert typical(match([], [])) is None


# Transcripts


def test_boards_are_told_from_running_text() -> None:
    board = "# # # #\n# P . #\n# # # #"
    found = blocks(f"Look:\n{board}\n3 left, open: right\nYour move?")
    assert [(block.text, block.board) for block in found] == [
        ("Look:", False),
        (board, True),
        ("3 left, open: right\nYour move?", False),
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "yes\nyes\nyes", "12 + 3 = ?", "one line\nlonger line\n"])
def test_running_text_is_no_board(text: str) -> None:
    assert not any(block.board for block in blocks(text))


@given(st.text(alphabet="ab #.\n", max_size=200))
def test_blocks_lose_nothing_but_blank_lines(text: str) -> None:
    kept = "\n".join(block.text for block in blocks(text))
    assert [line for line in kept.split("\n") if line] == [line for line in text.split("\n") if line]


@given(st.floats(-30, 0), st.floats(-30, 0))
def test_rarer_tokens_are_never_shaded_lighter(one: float, other: float) -> None:
    rare, common = sorted((one, other))
    assert shade(rare) >= shade(common)
    assert 0 <= shade(common) <= len(SHADES)


def test_the_ends_of_the_shades() -> None:
    assert shade(0.0) == 0
    assert shade(-math.inf) == len(SHADES)
    assert shade(math.log(0.5)) == SHADES.index(0.5)


def long_episode(turns: int, tokens: int, text: str) -> Episode:
    turn = Turn(
        [{"role": "user", "content": text}],
        {"role": "assistant", "content": text},
        1.0,
        {"correct": 1.0},
        completion_ids=tuple(range(tokens)),
        logprobs=(-0.1,) * tokens,
        finish="stop",
    )
    return replace(episode(0, 0.0), turns=(turn,) * turns)


@pytest.mark.parametrize(("turns", "tokens"), [(1, 10), (1, TOKENS + 5), (18, 10), (19, 10), (300, 40)])
def test_what_is_not_shown_is_counted(turns: int, tokens: int) -> None:
    shown = show(long_episode(turns, tokens, "x" * 4000), lambda ids: [f"<{id}>" for id in ids])
    visible_turns = [*shown.head, *shown.tail]
    assert len(visible_turns) + shown.unshown_turns == shown.turn_count == turns
    assert [turn.number for turn in shown.tail] == list(range(turns - len(shown.tail) + 1, turns + 1))
    for turn in visible_turns:
        assert len(turn.tokens) + turn.unshown_tokens == tokens
    assert sum(len(turn.tokens) for turn in visible_turns) <= TOKENS
    said = sum(
        len(block.text) for turn in visible_turns for message in turn.observed for block in message.blocks
    )
    assert said <= CHARACTERS + 60 * len(visible_turns)
    assert shown.token_count == turns * tokens


def test_tool_calls_are_shown() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Ulm"}'}}
    reply = {"role": "assistant", "content": "", "tool_calls": [call]}
    shown = show(replace(episode(0, 0.0), turns=(replace(episode(0, 0.0).turns[0], reply=reply),)), None)
    assert shown.head[0].calls == (ShownCall("look_up", (("city", "Ulm"),), ""),)


def test_malformed_tool_calls_are_shown_as_they_are() -> None:
    calls = [{"function": {"name": "look_up", "arguments": '{"city": '}}, {"id": 3}]
    reply = {"role": "assistant", "content": "", "tool_calls": calls}
    shown = show(replace(episode(0, 0.0), turns=(replace(episode(0, 0.0).turns[0], reply=reply),)), None)
    assert shown.head[0].calls == (
        ShownCall("look_up", (), '{"city": '),
        ShownCall("malformed call", (), '{"id": 3}'),
    )


def test_images_are_shown_as_far_as_they_fit() -> None:
    small, large = image_part(bytes(30)), image_part(bytes(IMAGE_CHARACTERS))
    message = tool_result({"id": "a"}, [text_part("two plots"), large, small])
    plotted = replace(episode(0, 0.0), final_observation=[message])
    (said,) = show(plotted, None).closing
    assert said.images == tuple(content_images(message)[1:])
    assert said.blocks[0].text == "two plots\n[image]\n[image]"


def test_what_cannot_be_seen_is_made_visible() -> None:
    assert visible("a\x00b\x1b[0m\x7f") == "a␀b␛[0m␡"
    assert visible("a\nb\tc") == "a\nb\tc"
    assert visible("\u202etxt.exe") == "⟨U+202E⟩txt.exe"
    assert visible("\ud800") == "?"


def test_terms_about_the_form_of_a_reply_are_marked_as_the_rubric_says() -> None:
    played = episode(0, 1.0, form_terms=("correct",))  # a name alone says nothing
    for shown in (show(played, None).terms, show(played, None).head[0].terms):
        assert [(term.name, term.form) for term in shown] == [("correct", True)]
    assert not show(episode(0, 1.0), None).terms[0].form


# Figures


def test_numbers_for_people() -> None:
    assert [number(value) for value in (0, 1234567, 42.42, 1.2345, 0.5, 0.0123, 0.0012, 1.24e-6, -3)] == [
        "0",
        "1,234,567",
        "42.4",
        "1.23",
        "0.500",
        "0.012",
        "0.0012",
        "1.2e−6",
        "−3.00",
    ]
    assert number(0.5, "percent") == "50.0%"
    assert number(math.nan) == "–"
    assert signed(0.0712, "percent") == "+7.1"
    assert signed(-2.0) == "−2.00"
    assert [duration(seconds) for seconds in (3.21, 65, 7265)] == ["3.2 s", "1 min 05 s", "2 h 01 min"]


# Charts


def drawn(panel: Panel, *values: np.ndarray, marks: tuple[Mark, ...] = ()) -> ElementTree.Element:
    steps = np.arange(1, len(values[0]) + 1, dtype=float)
    return ElementTree.fromstring(chart(panel, [smooth(steps, v) for v in values], "grpo", marks).svg)


def test_a_chart_is_well_formed_and_stays_within_its_frame() -> None:
    rng = np.random.default_rng(0)
    panel = Panel('A <b> & "c"', "", (Line("x", "one", "blue"), Line("y", "two", "rose")))
    svg = drawn(panel, rng.normal(5, 3, 50), rng.normal(-2, 1, 50))
    assert svg.attrib["aria-label"].startswith('A <b> & "c": one from')
    width, height = (float(number) for number in svg.attrib["viewBox"].split()[2:])
    for path in svg.iter("path"):
        for x, y in coordinates(path.attrib["d"]):
            assert 0 <= x <= width
            assert 0 <= y <= height


def coordinates(d: str) -> list[tuple[float, float]]:
    """The absolute points of a path made of M and L."""
    points = []
    for part in d.replace("Z", "").replace("L", "M").replace("h0", "").split("M"):
        if " " in part:
            x, y = part.split(" ")
            points.append((float(x), float(y.split("H")[0])))
    return points


@pytest.mark.parametrize("values", [[0.0], [5.0], [3.0, 3.0], [0.0] * 20, [1e-12] * 9, [1e9, -1e9] * 5])
def test_charts_of_odd_values_have_finite_coordinates(values: list[float]) -> None:
    for panel in (
        Panel("t", "", (Line("x", "x", "blue"),)),
        Panel("t", "", (Line("x", "x", "blue"),), from_zero=True),
    ):
        text = ElementTree.tostring(drawn(panel, np.array(values)), encoding="unicode")
        assert "nan" not in text
        assert "inf" not in text


def test_stacked_parts_reach_up_to_their_sum() -> None:
    panel = Panel(
        "Ends", "", (Line("a", "a", "blue"), Line("b", "b", "ochre")), "percent", (0, 1), True, True
    )
    svg = drawn(panel, np.full(10, 0.75), np.full(10, 0.25))
    lower, upper = [
        coordinates(path.attrib["d"]) for path in svg.iter("path") if "area" in path.attrib["class"]
    ]
    frame_top, frame_bottom = min(y for _, y in upper), max(y for _, y in lower)
    boundary = min(y for _, y in lower)
    assert (frame_bottom - boundary) / (frame_bottom - frame_top) == pytest.approx(0.75, abs=0.01)


def test_a_long_run_makes_no_long_chart() -> None:
    rng = np.random.default_rng(0)
    svg = ElementTree.tostring(drawn(Panel("t", "", (Line("x", "x", "blue"),)), rng.normal(size=20_000)))
    assert len(svg) < 40_000


def test_an_evaluation_is_a_diamond_with_its_interval() -> None:
    mark = Mark(10, Interval(0.5, 0.4, 0.6), "blue")
    svg = drawn(Panel("t", "", (Line("x", "x", "blue"),)), np.linspace(0, 1, 10), marks=(mark,))
    assert [path.attrib["class"] for path in svg.iter("path")][-2:] == ["whisker c-blue", "diamond c-blue"]


def test_a_dumbbell_puts_values_in_proportion() -> None:
    svg = ElementTree.fromstring(dumbbell(Interval(2, 1, 3), Interval(8, 7, 9), 0, 10, "return"))
    before, after = (float(circle.attrib["cx"].rstrip("%")) for circle in svg.iter("circle"))
    assert before == pytest.approx(3 + 0.2 * 94)
    assert after == pytest.approx(3 + 0.8 * 94)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)), min_size=1, max_size=2))
def test_an_axis_holds_zero_and_its_intervals(ends: list[tuple[float, float]]) -> None:
    intervals = [Interval(low + width / 2, low, low + width) for low, width in ends]
    low, high = axis_range(intervals)
    assert low < high
    assert low <= 0 <= high
    assert all(low <= interval.low and interval.high <= high for interval in intervals)


# Pictures of games


# Trust


def check(bound: str, limit: float, worst: float) -> Check:
    return Check("c", "data", "", "", bound, limit, False, 1, worst, 1, "", 0, "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bound", "limit", "worst", "nearness", "distance"),
    [
        ("most", 0.2, 0.05, 0.25, "4.00× below"),
        ("most", 0.2, 0.4, 2.0, "2.00× above"),
        ("most", 0.2, -1.0, 0.0, "far"),
        ("most", 1e-3, 1e-9, 1e-6, "1e6× below"),
        ("least", 0.1, 0.4, 0.25, "4.00× above"),
        ("least", 0.1, 0.05, 2.0, "2.00× below"),
        ("least", 0.1, -3.0, math.inf, "beyond"),
        ("least", -1.0, -0.5, 0.5, "2.00× above"),
        ("least", -1.0, 0.3, 0.0, "far"),
        ("most", 0.0, 0.0, 0.0, "exact"),
        ("least", 0.0, 0.3, 0.0, "far"),
        ("least", 0.0, -0.3, math.inf, "beyond"),
        ("most", 0.0, 1e-9, math.inf, "beyond"),
        ("most", 0.2, math.nan, math.inf, "beyond"),
        ("least", 0.2, math.nan, math.inf, "beyond"),
        ("most", 0.2, -math.inf, 0.0, "far"),
        ("most", 0.2, math.inf, math.inf, "beyond"),
        ("most", 0.0, math.nan, math.inf, "beyond"),
    ],
)
def test_how_near_a_limit_a_value_is(
    bound: str, limit: float, worst: float, nearness: float, distance: str
) -> None:
    measured = check(bound, limit, worst)
    assert measured.nearness == pytest.approx(nearness)
    assert measured.distance == distance


@given(
    bound=st.sampled_from(["most", "least"]),
    limit=st.floats(allow_nan=False, allow_infinity=False),
    worst=st.floats(),
)
def test_what_holds_is_within_its_limit_on_the_bar(bound: str, limit: float, worst: float) -> None:
    measured = check(bound, limit, worst)
    holds = worst <= limit if bound == "most" else worst >= limit
    assert (measured.nearness <= 1) == holds
    for decades in (0, 6):
        point = ElementTree.fromstring(gauge(measured.nearness, decades, measured.distance)).find("circle")
        assert point is not None
        end = float(point.attrib["cx"].removesuffix("%"))
        assert 0 <= end <= 100
        assert (end <= LIMIT_AT) == holds or end == LIMIT_AT


def test_a_gauge_by_decades() -> None:
    ends = []
    for nearness in (0.0, 1e-9, 1e-6, 1e-3, 1.0):
        point = ElementTree.fromstring(gauge(nearness, 6, "")).find("circle")
        assert point is not None
        ends.append(float(point.attrib["cx"].removesuffix("%")))
    assert ends == [ends[0]] * 3 + [(ends[0] + LIMIT_AT) / 2, LIMIT_AT]


def test_a_gif_keeps_the_frames_and_their_colours() -> None:
    colours = [(255, 221, 0), (33, 33, 222), (222, 0, 0), (0, 0, 0)]
    frames = [np.full((32, 40, 3), colour, np.uint8) for colour in colours]
    picture = Image.open(io.BytesIO(encode(frames)))
    assert (picture.size, picture.n_frames) == ((40, 32), 4)  # type: ignore[attr-defined]
    for i, colour in enumerate(colours):
        picture.seek(i)
        seen = picture.convert("RGB").getpixel((5, 5))
        assert isinstance(seen, tuple)
        assert max(abs(a - b) for a, b in zip(seen, colour, strict=True)) < 12


def test_a_gif_stays_small() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (160, 160, 3), np.uint8) for _ in range(100)]
    assert len(encode(noise)) <= LARGEST
    many = [np.full((8, 8, 3), i % 256, np.uint8) for i in range(3 * MOST_FRAMES)]
    assert Image.open(io.BytesIO(encode(many))).n_frames <= MOST_FRAMES  # type: ignore[attr-defined]
