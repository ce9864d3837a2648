"""`ludus/Maze-v0`: the goal can be reached, walls cannot be passed, and a view shows no more than it says."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.chat import content_text
from ludus.envs.conformance import check
from ludus.envs.errors import ArgumentError
from ludus.envs.grid.pacman.search import all_distances
from ludus.envs.grid.walking import DIRECTIONS
from ludus.envs.puzzles.maze.environment import VIEWS, Maze, MazeState
from ludus.envs.puzzles.maze.ground import Ground, draw_ground

STEPS = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}

# The page's example: a ring around three walls, the goal in a corner, the start in the one across.
DRAWN = ["#######", "#....G#", "#.#.#.#", "#.#.#.#", "#.#.#.#", "#A....#", "#######"]


def drawn(lines: list[str]) -> Ground:
    cells = "".join(lines)
    floor = np.array([sign != "#" for sign in cells], np.uint8)
    goal, start = cells.index("G"), cells.index("A")
    ways = all_distances(floor.reshape(len(lines), -1) != 0)[goal]
    distances = tuple(-1 if np.isinf(way) else int(way) for way in ways)
    return Ground(len(lines), floor.tobytes(), start, goal, distances)


GROUND = drawn(DRAWN)


def replied(env: Maze, text: str, cell: int = GROUND.start, ground: Ground = GROUND) -> Any:
    return env.respond(MazeState(ground, cell), text)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), size=st.integers(7, 25))
def test_the_goal_is_far_and_can_be_reached_by_no_fewer_moves_than_said(seed: int, size: int) -> None:
    ground = draw_ground(np.random.default_rng(seed), size)
    assert ground == draw_ground(np.random.default_rng(seed), size)
    cells = ground.cells
    ways = all_distances(cells != 0)[ground.goal]
    assert [-1 if np.isinf(way) else way for way in ways] == list(ground.distances)
    assert 2 * ground.distances[ground.start] >= max(ground.distances) > 0
    row, column = divmod(ground.start, size)
    way = ground.shortest_way(ground.start)
    assert len(way) == ground.distances[ground.start]
    for move in way:
        row, column = row + STEPS[move][0], column + STEPS[move][1]
        assert cells[row, column]
    assert row * size + column == ground.goal


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("plan_limit", [1, 1000])
def test_the_oracle_takes_the_shortest_way(view: str, plan_limit: int) -> None:
    env = Maze(size=9, view=view, plan_limit=plan_limit)
    oracle = Maze.scripted["oracle"](env)
    for seed in range(5):
        observation, info = env.reset(seed=seed)
        oracle.begin()
        way = len(env.way())
        turns, ended = 0, False
        while not ended:
            observation, reward, terminated, truncated, info = env.step(oracle.act(observation, info))
            turns, ended = turns + 1, terminated or truncated
        assert (info["success"], reward) == (True, 1.0)
        assert turns == (way if plan_limit == 1 else 1)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), moves=st.lists(st.sampled_from(DIRECTIONS), min_size=1, max_size=30))
def test_a_plan_is_played_until_a_wall_or_the_goal(seed: int, moves: list[str]) -> None:
    ground = draw_ground(np.random.default_rng(seed), 7)
    outcome = replied(
        Maze(plan_limit=30), f"<action>{' '.join(moves)}</action>", cell=ground.start, ground=ground
    )
    row, column = divmod(ground.start, 7)
    walls, reached = 0, False
    for move in moves:
        to_row, to_column = row + STEPS[move][0], column + STEPS[move][1]
        if not ground.cells[to_row, to_column]:
            walls = 1
            break
        row, column = to_row, to_column
        if row * 7 + column == ground.goal:
            reached = True
            break
    assert outcome.state.cell == row * 7 + column
    assert (outcome.terms["illegal"], outcome.terms["goal"]) == (walls, reached)
    assert outcome.success == outcome.terminated == reached
    before, after = (ground.distances[cell] for cell in (ground.start, outcome.state.cell))
    assert outcome.terms["closer"] == pytest.approx(1 - after / before)


def test_the_map_shows_everything() -> None:
    said = content_text(replied(Maze(), "<action>up</action>", cell=GROUND.start + 1).messages[0])
    assert said.startswith("Wall: cannot go up.\n")
    board = ["".join(line.split()) for line in said.splitlines()[1:-1]]
    assert board == [line.replace("#A..", "#.A.") for line in DRAWN]
    assert said.splitlines()[-1] == "open: right left"


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_the_local_view_is_the_square_around(radius: int) -> None:
    env = Maze(view="local", radius=radius)
    for cell in (GROUND.start, 3 * 7 + 3, GROUND.goal - 1):
        said = content_text(replied(env, "?", cell=cell).messages[0])
        board = ["".join(line.split()) for line in said.splitlines()[1:-1]]
        row, column = divmod(cell, 7)
        expected = []
        for r in range(row - radius, row + radius + 1):
            line = ""
            for c in range(column - radius, column + radius + 1):
                inside = 0 <= r < 7 and 0 <= c < 7
                line += "A" if (r, c) == (row, column) else DRAWN[r][c].replace("A", ".") if inside else "#"
            expected.append(line)
        assert board == expected


def test_a_view_shows_nothing_of_what_lies_outside() -> None:
    """Another maze, and another goal, that look the same from here are told in the same words."""
    rng = np.random.default_rng(0)
    local, coordinates = (Maze(size=15, view=view, radius=1) for view in ("local", "coordinates"))
    compared = 0
    for _ in range(300):
        one, two = (draw_ground(rng, 15) for _ in range(2))
        cell = one.start
        around = [cell + step + side for step in (-15, 0, 15) for side in (-1, 0, 1)]
        same = all(one.floor[i] == two.floor[i] for i in around)
        if not same or one.goal in around or two.goal in around:
            continue
        compared += 1
        told = [replied(local, "?", cell=cell, ground=ground).messages for ground in (one, two)]
        assert told[0] == told[1]
        said = [content_text(replied(coordinates, "?", cell=cell, ground=g).messages[0]) for g in (one, two)]
        hidden = [re.sub(r"goal is at row \d+, column \d+", "goal", text) for text in said]
        assert hidden[0] == hidden[1]
    assert compared > 10


def test_coordinates_count_from_one() -> None:
    said = content_text(replied(Maze(view="coordinates"), "<action>right</action>").messages[0])
    assert said == "You are at row 6, column 3. The goal is at row 2, column 6.\nopen: right left"


def test_a_task_is_named_by_its_map_whatever_the_view() -> None:
    names = {view: Maze(view=view) for view in VIEWS}
    for seed in range(5):
        tasks = {env.reset(seed=seed)[1]["task"] for env in names.values()}
        assert len(tasks) == 1
    shown = content_text(names["map"].reset(seed=1)[0][1])
    assert names["map"].task_name == shown.rpartition("\nopen:")[0]


def test_many_tasks_in_the_smallest_mazes() -> None:
    env = Maze()
    assert len({env.reset(seed=seed)[1]["task"] for seed in range(500)}) > 200


def test_weights_pay_for_the_way_and_to_and_fro_comes_to_nothing() -> None:
    env = Maze(weights={"closer": 1.0}, plan_limit=1)
    env.reset(seed=3)
    (move, back) = env.way()[0], ""
    back = DIRECTIONS[(DIRECTIONS.index(move) + 2) % 4]
    earned = [env.step(f"<action>{way}</action>")[1] for way in (move, back, move, back)]
    assert earned[0] > 0
    assert sum(earned) == pytest.approx(0)


def test_an_episode_that_runs_out_says_how_far_it_was() -> None:
    env = Maze(max_turns=1)
    env.reset(seed=0)
    *_, truncated, info = env.step("no")
    assert (truncated, info["success"]) == (True, False)
    assert env.verdict.failure.endswith(f"the goal is {len(env.way())} moves away")
    assert len(env.verdict.expected.split()) == len(env.way())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No <action> found."),
        ("<action> </action>", "The <action> is empty."),
        ("<action>up up up up up</action>", "5 moves are too many."),
        ("<action>north</action>", "'north' is not a move"),
        ("<action>up</action><action>up</action>", "2 <action> tags found"),
        ("<action>" * 9999, "No <action> found."),
    ],
)
def test_what_is_wrong_with_a_reply_is_said(text: str, said: str) -> None:
    outcome = replied(Maze(), text)
    assert content_text(outcome.messages[0]).startswith(said)
    assert "Reply with 1 to 4 moves, like <action>up up left</action>." in content_text(outcome.messages[0])
    assert outcome.terms == {"malformed": 1.0}


@pytest.mark.parametrize("view", ["local", "coordinates"])
def test_conforms_in_other_views(view: str) -> None:
    report = check(
        "ludus/Maze-v0",
        episodes=20,
        only=("rewards", "limits", "malformed replies", "snapshots", "anchors", "scripted agents"),
        view=view,
        size=9,
    )
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 5}, "size=5: give an integer from 7 to 63"),
        ({"view": "birds"}, "view: 'birds' is unknown"),
        ({"radius": 0}, "radius=0"),
        ({"plan_limit": 0}, "plan_limit=0"),
        ({"weights": {"speed": 1}}, "weights: 'speed' is unknown"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        Maze(**arguments)
