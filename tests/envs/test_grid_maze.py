import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.errors import ArgumentError
from ludus.envs.grid.maze import FLOOR, WALL, make_maze
from ludus.envs.grid.pacman.layouts import LAYOUTS, POWER, read_layout
from ludus.envs.grid.pacman.search import all_distances

SIZES = st.integers(7, 40)
SEEDS = st.integers(-(2**63), 2**63 - 1)


def ways(maze: np.ndarray) -> np.ndarray:
    """How many open neighbours each cell has."""
    floor = (maze != WALL).astype(int)
    count = np.zeros_like(floor)
    count[1:-1, 1:-1] = floor[:-2, 1:-1] + floor[2:, 1:-1] + floor[1:-1, :-2] + floor[1:-1, 2:]
    return count


@given(SIZES, SIZES, SEEDS)
def test_mazes_are_symmetric_looped_connected_and_narrow(rows: int, columns: int, seed: int) -> None:
    maze = make_maze(rows, columns, seed)
    assert maze.shape == (rows, columns)
    assert set(np.unique(maze)) == {WALL, FLOOR}
    np.testing.assert_array_equal(maze, maze[:, ::-1])
    border = np.ones_like(maze, bool)
    border[1:-1, 1:-1] = False
    assert (maze[border] == WALL).all()
    # No dead ends: walking without turning back never ends, so there are loops everywhere.
    assert (ways(maze)[maze == FLOOR] >= 2).all()
    # Corridors are one cell wide.
    assert not (maze[:-1, :-1] & maze[1:, :-1] & maze[:-1, 1:] & maze[1:, 1:]).any()
    floor = np.flatnonzero(maze)
    assert np.isfinite(all_distances(maze == FLOOR)[floor[0], floor]).all()


def test_a_maze_is_a_function_of_its_seed() -> None:
    drawn = {make_maze(15, 15, seed).tobytes() for seed in range(100)}
    assert len(drawn) > 90
    assert make_maze(31, 28, 7).tobytes() == make_maze(31, 28, 7).tobytes()


def test_walking_distances_of_a_ring() -> None:
    floor = read_layout("ring").ground != WALL
    distances = all_distances(floor)
    assert distances[8, 9] == 1
    assert distances[8, 40] == 8  # opposite corners of a ring of sixteen cells
    assert np.isinf(distances[8, 0])


@pytest.mark.parametrize("name", LAYOUTS)
def test_named_layouts_are_mirror_images_of_themselves_without_dead_ends(name: str) -> None:
    layout = read_layout(name)
    floor = layout.ground != WALL
    np.testing.assert_array_equal(floor, floor[:, ::-1])
    assert (ways(floor)[floor] >= 2).all()
    assert (layout.ground == POWER).any()


@pytest.mark.parametrize(
    ("drawing", "complaint"),
    [
        ("palace", "layout 'palace' is unknown: choose one of ring"),
        ("####\n#PG#\n###", "line 3 has 3 cells"),
        ("####\n#PX#\n####", r"line 2 has \['X'\]"),
        ("#####\n#PGP#\n#####", "exactly one 'P'"),
        ("####\n#P.#\n####", "exactly one 'G'"),
        ("####\n#PG.\n####", "border must be wall"),
        ("######\n#PG#.#\n######", "line 2, column 5: Pac-Man can never get there"),
    ],
)
def test_a_wrong_layout_is_refused_with_the_place(drawing: str, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        read_layout(drawing)
