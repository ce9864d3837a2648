"""The rules, computed by hand on small layouts, and what holds in every game."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.grid.pacman.environment import PacMan
from ludus.envs.grid.pacman.rules import GHOST_BIT, HARMLESS_BIT, PACMAN_BIT, PELLET, WALL

UP, RIGHT, DOWN, LEFT = range(4)

RING = """
#####
#P..#
#.#.#
#..G#
#####
"""

HALL = """
#######
#Po..G#
#.###.#
#.....#
#######
"""


def begun(layout: str, **arguments: Any) -> PacMan:
    env = PacMan(layout=layout, **arguments)
    env.reset(seed=0)
    return env


def ghost_cell(observation: np.ndarray, ghost: int = 0) -> tuple[int, int]:
    ((row, column),) = np.argwhere(observation & (GHOST_BIT << ghost))
    return int(row), int(column)


def test_pellets_and_a_cleared_maze() -> None:
    env = begun(RING, ghosts=0)
    rewards = []
    for action in (RIGHT, RIGHT, DOWN, DOWN, LEFT, LEFT, UP):
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
    assert rewards == [1, 1, 1, 1, 1, 1, 21]
    assert terminated
    assert not truncated
    assert info["success"] is True
    assert info["reward_terms"] == {"pellet": 1.0, "power": 0.0, "ghost": 0.0, "caught": 0.0, "cleared": 1.0}


def test_a_power_pellet_counts_five_and_is_no_pellet() -> None:
    env = begun(HALL, ghosts=0)
    _, reward, *_, info = env.step(RIGHT)
    assert reward == 5
    assert {name for name, count in info["reward_terms"].items() if count} == {"power"}


def test_against_a_wall_pacman_stays_and_nothing_is_eaten() -> None:
    env = begun(RING, ghosts=0)
    observation, reward, *_ = env.step(UP)
    assert reward == 0
    assert observation[1, 1] & PACMAN_BIT


@pytest.mark.parametrize(("frightened_steps", "last", "terminated"), [(3, 11, False), (2, -10, True)])
def test_frightened_ghosts_are_eaten_until_the_time_is_up(
    frightened_steps: int, last: float, terminated: bool
) -> None:
    """The ghost stands still four steps away: eaten (10, and the pellet under it), or deadly."""
    env = begun(HALL, ghosts=1, ghost_speed=0, frightened_steps=frightened_steps)
    steps = [env.step(RIGHT) for _ in range(4)]
    assert [step[1] for step in steps] == [5, 1, 1, last]
    assert [step[4]["frightened"] for step in steps[:3]] == [frightened_steps - passed for passed in range(3)]
    assert steps[-1][2] is terminated


def test_an_eaten_ghost_waits_at_home_and_comes_back_dangerous() -> None:
    env = begun(HALL, ghosts=1, ghost_speed=0, frightened_steps=9)
    for _ in range(4):
        observation, *_ = env.step(RIGHT)
    assert observation[1, 5] & HARMLESS_BIT
    # Pac-Man stands where the ghost lives: it waits six steps, the one of its end included.
    outcomes = [env.step(RIGHT)[1:3] for _ in range(5)]
    assert outcomes == [(0, False)] * 4 + [(-10, True)]


def test_a_dangerous_ghost_catches_before_anything_is_eaten() -> None:
    env = begun("#####\n#PG.#\n#####", ghosts=1, ghost_speed=0)
    observation, reward, terminated, _, info = env.step(RIGHT)
    assert (reward, terminated, info["success"]) == (-10, True, False)
    assert observation[1, 2] & 3 == PELLET


def test_changing_places_with_a_ghost_is_being_caught() -> None:
    env = begun("#####\n#P.G#\n#.#.#\n#...#\n#####", ghosts=1, ghost_speed=1)
    assert env.step(LEFT)[1:3] == (0, False)  # into the wall; the ghost comes next to Pac-Man
    assert env.step(RIGHT)[1:3] == (-10, True)  # he moves to its cell, while it would move to his


def test_a_ghost_that_comes_to_pacman_catches_him_after_his_meal() -> None:
    env = begun("#####\n#P.G#\n#.#.#\n#...#\n#####", ghosts=1, ghost_speed=1)
    _, reward, terminated, _, info = env.step(RIGHT)
    assert (reward, terminated) == (-9, True)
    assert info["reward_terms"]["pellet"] == info["reward_terms"]["caught"] == 1


def test_clearing_the_maze_ends_the_game_before_ghosts_move() -> None:
    """In the fourth step Pac-Man eats a ghost and the last pellet at home, where the other would come out."""
    env = begun("#######\n#Po..G#\n#######", ghosts=2, ghost_speed=0, frightened_steps=9)
    steps = [env.step(RIGHT) for _ in range(4)]
    assert [step[1] for step in steps] == [5, 1, 1, 10 + 1 + 20]
    assert steps[-1][4]["success"] is True


CROSS = """
#########
#...#...#
#.#.#.#.#
#.#.G.#.#
#.#.#.#.#
#...P...#
#########
"""
FAR = """
###########
#....#....#
#.##.#.##.#
#.##.G.##.#
#.##.#.##.#
#.##.#.##.#
#.##.#.##.#
#.##.#.##.#
#........P#
###########
"""


@pytest.mark.parametrize(
    ("layout", "kind", "goes_right"),
    [
        # Pac-Man is below, facing left. Both ways are equally short; right is tried first.
        (CROSS, "chaser", True),
        (CROSS, "ambusher", False),  # aims four cells to his left
        (CROSS, "patroller", True),  # two cells away: chases
        (CROSS, "shy", False),  # two cells away: flees to the lower left
        # Pac-Man is nine cells away, at the lower right, facing left.
        (FAR, "chaser", True),
        (FAR, "patroller", False),  # begins its round at the upper left
        (FAR, "shy", True),  # far away: chases
    ],
)
def test_each_ghost_has_its_own_aim(layout: str, kind: str, goes_right: bool) -> None:
    env = begun(layout, ghosts=[kind], ghost_speed=1)
    row, column = ghost_cell(env.reset(seed=0)[0])
    observation, *_ = env.step(DOWN)
    assert ghost_cell(observation) == (row, column + (1 if goes_right else -1))


def test_the_patroller_goes_on_to_the_next_corner() -> None:
    """Two loops side by side, far from Pac-Man: the left one is nearer to the first corner, the right one to
    the next. A corner lasts rows + columns = 25 steps, a loop 14."""
    corridor = "#.###########\n" * 6
    loops = "#############\n#.....G.....#\n#.####.####.#\n#...........#\n"
    env = begun(f"{loops}{corridor}#P###########\n#############", ghosts=["patroller"], ghost_speed=1)
    cells = [ghost_cell(env.step(DOWN)[0]) for _ in range(50)]
    assert (1, 1) in cells[:25]
    assert all(column <= 6 for _, column in cells[:25])
    assert (1, 11) in cells[39:]
    assert all(column >= 6 for _, column in cells[39:])


def test_ghosts_move_by_their_speed() -> None:
    env = begun(FAR, ghosts=1, ghost_speed=0.75)
    cells = [ghost_cell(env.reset(seed=0)[0])] + [ghost_cell(env.step(DOWN)[0]) for _ in range(8)]
    assert [cells[step] != cells[step + 1] for step in range(8)] == [False, True, True, True] * 2


def test_frightened_ghosts_move_at_half_speed() -> None:
    env = begun(HALL.replace("..G", "G.."), ghosts=1, ghost_speed=1, frightened_steps=50)
    cells = [ghost_cell(env.step(action)[0]) for action in (RIGHT, LEFT, LEFT, LEFT)]
    assert [before != after for before, after in pairwise(cells)] == [True, False, True]


def test_ghosts_leave_home_one_after_another() -> None:
    env = begun(FAR, ghosts=2, ghost_speed=1)
    home = ghost_cell(env.reset(seed=0)[0], 1)
    observations = [env.step(DOWN)[0] for _ in range(5)]
    assert [ghost_cell(observation, 0) != home for observation in observations] == [True] * 5
    assert [ghost_cell(observation, 1) != home for observation in observations] == [False] * 4 + [True]
    assert [bool(seen[home] & HARMLESS_BIT) for seen in observations] == [True] * 3 + [False] * 2


def test_a_ghost_turns_round_only_in_a_dead_end() -> None:
    env = begun("#############\n#...G......P#\n#############", ghosts=["patroller"], ghost_speed=1)
    columns = [ghost_cell(env.step(UP)[0])[1] for _ in range(5)]
    assert columns == [3, 2, 1, 2, 3]


def test_the_step_limit_truncates_but_not_what_has_ended() -> None:
    env = begun(RING, ghosts=0, max_steps=2)
    assert env.step(UP)[2:4] == (False, False)
    *_, terminated, truncated, info = env.step(UP)
    assert (terminated, truncated, info["success"]) == (False, True, False)
    env = begun("#####\n#PG.#\n#####", ghosts=1, ghost_speed=0, max_steps=1)
    assert env.step(RIGHT)[2:4] == (True, False)


@settings(max_examples=60)
@given(
    rows=st.integers(7, 16),
    columns=st.integers(7, 16),
    ghosts=st.integers(0, 4),
    speed=st.sampled_from([0.0, 0.3, 0.75, 1.0]),
    seed=st.integers(0, 2**32),
    actions=st.lists(st.integers(0, 3), min_size=60, max_size=60),
)
def test_what_holds_in_every_game(
    rows: int, columns: int, ghosts: int, speed: float, seed: int, actions: list[int]
) -> None:
    env = PacMan(rows=rows, columns=columns, ghosts=ghosts, ghost_speed=speed)
    before, info = env.reset(seed=seed)
    pellets = (before & 3 >= PELLET).sum()
    walls = before & 3 == WALL
    for action in actions:
        row, column = np.argwhere(before & PACMAN_BIT)[0]
        offsets = [(-1, 0), (0, 1), (1, 0), (0, -1)]
        open_ways = [int(not walls[row + dy, column + dx]) for dy, dx in offsets]
        assert info["action_mask"].tolist() == open_ways
        after, reward, terminated, truncated, info = env.step(action)
        terms = info["reward_terms"]
        assert reward == env.rubric(terms)
        np.testing.assert_array_equal(after & 3 == WALL, walls)
        pellets -= terms["pellet"] + terms["power"]
        assert (after & 3 >= PELLET).sum() == pellets
        assert terms["cleared"] == (pellets == 0)
        assert (after & PACMAN_BIT > 0).sum() == 1
        assert not (after & ~np.uint8(3))[walls].any()
        for ghost in range(4):
            assert (after & (GHOST_BIT << ghost) > 0).sum() == (ghost < ghosts)
        if terminated or truncated:
            assert info["success"] == bool(terms["cleared"])
            break
        before = after


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), actions=st.lists(st.integers(0, 3), min_size=40, max_size=40))
def test_no_ghost_goes_straight_back_unless_frightened_or_eaten(seed: int, actions: list[int]) -> None:
    env = PacMan(rows=11, columns=11, ghosts=4, ghost_speed=1, power_pellets=0)
    observation, _ = env.reset(seed=seed)
    trails = [[ghost_cell(observation, ghost)] for ghost in range(4)]
    for action in actions:
        observation, _, terminated, *_ = env.step(action)
        for ghost, trail in enumerate(trails):
            if (cell := ghost_cell(observation, ghost)) != trail[-1]:
                trail.append(cell)
        if terminated:
            break
    for trail in trails:
        assert all(a != c for a, c in zip(trail, trail[2:], strict=False))
