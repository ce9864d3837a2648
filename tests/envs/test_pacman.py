"""The single form of `ludus/PacMan-v0`: observations, determinism, snapshots, bad input, pictures."""

import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import ludus  # noqa: F401 (registers the environments)
from ludus.envs.errors import ArgumentError
from ludus.envs.grid.pacman.environment import PacMan
from ludus.envs.grid.pacman.observation import as_cells
from ludus.envs.grid.pacman.render import cell_size
from ludus.envs.grid.pacman.rules import HARMLESS_BIT, PACMAN_BIT
from ludus.envs.grid.pacman.scripted import GRID_AGENTS
from ludus.envs.scripted import ScriptedAgent

ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"rows": 31, "columns": 28},
    {"view": 3},
    {"layout": "garden", "ghosts": ("shy", "shy")},
]


def played(env: PacMan, seed: int, steps: int = 80) -> list[Any]:
    """The results of random actions over several episodes."""
    actions = np.random.default_rng(seed).integers(4, size=steps)
    observation, info = env.reset(seed=seed)
    told: list[Any] = [(observation.tobytes(), info["task"])]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        told.append((observation.tobytes(), reward, terminated, truncated, info["action_mask"].tobytes()))
        if terminated or truncated:
            observation, info = env.reset()
            told.append((observation.tobytes(), info["task"]))
    return told


@pytest.mark.parametrize("arguments", [*ARGUMENTS, {"render_mode": "rgb_array"}])
def test_gymnasiums_checker_has_nothing_to_say(arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("ludus/PacMan-v0", **arguments).unwrapped)


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_games_are_functions_of_seed_and_actions(arguments: dict[str, Any]) -> None:
    one, other = PacMan(**arguments), PacMan(**arguments)
    expected = played(one, seed=5)
    played(other, seed=6)
    assert played(other, seed=5) == expected
    assert played(one, seed=6) != expected


def test_games_in_threads_do_not_disturb_each_other() -> None:
    expected = [played(PacMan(), seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda seed: played(PacMan(), seed), range(8))) == expected


def test_tasks_are_named_by_their_content() -> None:
    env = PacMan()
    tasks = {env.reset(seed=seed)[1]["task"] for seed in range(50)}
    assert len(tasks) == 50
    assert PacMan(ghost_speed=0.5).reset(seed=0)[1]["task"] != env.reset(seed=0)[1]["task"]
    assert PacMan().reset(seed=0)[1]["task"] == env.reset(seed=0)[1]["task"]


def test_a_snapshot_brings_everything_back_here_and_elsewhere() -> None:
    env = PacMan(ghost_speed=1.0)
    env.reset(seed=3)
    for action in (1, 1, 0, 3):
        env.step(action)
    snapshot = env.snapshot()

    def rest(of: PacMan) -> list[Any]:
        told = []
        for action in [1, 2, 3, 0] * 30:
            observation, reward, terminated, truncated, info = of.step(action)
            told.append((observation.tobytes(), reward, terminated, info["task"]))
            if terminated or truncated:
                break
        return told

    expected = rest(env)
    env.restore(snapshot)
    assert rest(env) == expected
    other = PacMan(ghost_speed=1.0)
    other.restore(pickle.loads(pickle.dumps(snapshot)))
    assert rest(other) == expected


def test_observations_are_the_callers() -> None:
    env = PacMan()
    first, info = env.reset(seed=0)
    kept = first.copy()
    first[:] = 77
    info["action_mask"][:] = 0
    second, *_ = env.step(0)
    assert not (second == 77).any()
    env.step(1)
    again, _ = env.reset(seed=0)
    np.testing.assert_array_equal(again, kept)


def test_a_partial_view_is_a_window_of_the_whole_grid() -> None:
    whole, part = PacMan(), PacMan(view=3)
    seen, _ = part.reset(seed=9)
    grid, info = whole.reset(seed=9)
    for action in np.random.default_rng(0).integers(4, size=60):
        assert seen.shape == (7, 7)
        row, column = np.argwhere(grid & PACMAN_BIT)[0] + 3
        window = np.pad(grid, 3)[row - 3 : row + 4, column - 3 : column + 4]
        np.testing.assert_array_equal(seen, window)
        grid, _, terminated, _, info = whole.step(action)
        seen, *_, info_of_part = part.step(action)
        np.testing.assert_array_equal(info["action_mask"], info_of_part["action_mask"])
        if terminated:
            break


def test_the_mask_is_in_the_form_that_sampling_takes() -> None:
    env = PacMan()
    _, info = env.reset(seed=1)
    env.action_space.seed(0)
    drawn = {int(env.action_space.sample(info["action_mask"])) for _ in range(50)}
    assert drawn == set(np.flatnonzero(info["action_mask"]).tolist())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"rows": 6}, "rows=6: give an integer from 7 to 63"),
        ({"columns": 64}, "columns=64"),
        ({"rows": 9.5}, "rows=9.5"),
        ({"ghosts": 5}, "ghosts=5: give an integer from 0 to 4"),
        ({"ghosts": ["blinky"]}, "chaser, ambusher, patroller, shy"),
        ({"ghosts": ["shy"] * 5}, "give at most 4 names"),
        ({"ghosts": True}, "ghosts=True"),
        ({"ghost_speed": 1.5}, "ghost_speed=1.5: give a number from 0 to 1"),
        ({"power_pellets": -1}, "power_pellets=-1"),
        ({"frightened_steps": True}, "frightened_steps=True"),
        ({"max_steps": 0}, "max_steps=0"),
        ({"view": 0}, "view=0"),
        ({"layout": "palace"}, "layout 'palace' is unknown"),
        ({"render_mode": "picture"}, "render_mode: 'picture' is unknown; choose from human, ansi, rgb_array"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint) as refused:
        PacMan(**arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("action", [1, np.int64(1), np.uint8(1), np.array(1), np.array(1, np.int32)])
def test_actions_may_be_numpys(action: Any) -> None:
    env, other = PacMan(), PacMan()
    env.reset(seed=np.int64(5))  # type: ignore[arg-type]
    other.reset(seed=5)
    assert (env.step(action)[0] == other.step(1)[0]).all()


@pytest.mark.parametrize(
    "action", [4, -1, 1.0, np.array(1.0), np.array([1]), True, None, "up", np.array([1, 2])]
)
def test_what_is_no_action_is_refused(action: Any) -> None:
    env = PacMan()
    env.reset(seed=5)
    with pytest.raises(ArgumentError, match="give 0 "):
        env.step(action)


def test_planes_are_the_cells_one_hot() -> None:
    env, planes = PacMan(max_steps=60), PacMan(max_steps=60, observation="planes")
    assert planes.observation_space.shape == (15, 15, 10)
    cells, info = env.reset(seed=2)
    shown, _ = planes.reset(seed=2)
    ended, rng = False, np.random.default_rng(0)
    while not ended:
        assert shown in planes.observation_space
        assert set(np.unique(shown)) == {0, 255}
        assert (shown[..., :4].argmax(axis=-1) == cells & 3).all()
        assert (shown[..., :4].sum(axis=-1, dtype=int) == 255).all()
        assert (shown[..., 4:9] == 255 * (cells[..., None] >> np.arange(2, 7) & 1)).all()
        assert (shown[..., 9] == 255 * (cells >> 7)).all()
        assert (as_cells(shown) == cells).all()
        action = rng.choice(np.flatnonzero(info["action_mask"]))
        (cells, _, done, cut, info), (shown, *_) = env.step(action), planes.step(action)
        ended = done or cut


def test_the_oracle_plays_with_planes() -> None:
    env = PacMan(rows=9, columns=9, ghosts=1, observation="planes")
    oracle = GRID_AGENTS["oracle"](env)
    observation, info = env.reset(seed=1)
    oracle.begin()
    ended = False
    while not ended:
        observation, _, terminated, truncated, info = env.step(oracle.act(observation, info))
        ended = terminated or truncated
    assert info["success"]


def test_masks_and_keys_are_under_the_names_that_others_look_for() -> None:
    env = gymnasium.make("ludus/PacMan-v0")
    _, info = env.reset(seed=3)
    masks = env.get_wrapper_attr("action_masks")()
    assert masks.dtype == bool
    assert (masks == info["action_mask"]).all()
    keys = env.get_wrapper_attr("get_keys_to_action")()
    assert [keys[ord(letter),] for letter in "wdsa"] == [0, 1, 2, 3]
    assert sorted(keys.values()) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_wrong_actions_options_and_order_are_refused() -> None:
    env = PacMan()
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\)"):
        env.step(0)
    with pytest.raises(ArgumentError, match="options: 'maze' is unknown; there are none"):
        env.reset(options={"maze": 3})
    env.reset(seed=0)
    for action in (4, -1, 1.5, "up"):
        with pytest.raises(ArgumentError, match="0 \\(up\\)"):
            env.step(action)  # type: ignore[arg-type]


def test_pictures_show_what_happens() -> None:
    env = PacMan(render_mode="rgb_array", layout="ring", ghosts=1)
    observation, _ = env.reset(seed=0)
    size = cell_size(7, 7)
    before = env.render()
    assert before.shape == (7 * size, 7 * size, 3)
    assert before.dtype == np.uint8
    row, column = np.argwhere(observation & PACMAN_BIT)[0]
    centre = before[row * size + size // 4, column * size + size // 2]
    assert centre[0] > 200 > 100 > centre[2]  # yellow
    env.step(1)
    assert (env.render() != before).any()
    large = PacMan(rows=31, columns=28, render_mode="rgb_array")
    large.reset(seed=0)
    assert large.render().shape == (31 * cell_size(31, 28), 28 * cell_size(31, 28), 3)


def test_terminals_show_the_maze_and_a_line_about_it() -> None:
    env = PacMan(render_mode="ansi", layout="ring", ghosts=1)
    env.reset(seed=0)
    lines = env.render().splitlines()
    assert len(lines) == 7 + 1
    assert "╭" in lines[0]
    assert "Ω" in lines[1]
    assert "Ɔ" in lines[5]
    assert lines[-1] == "step 0   15 left"


def test_human_mode_draws_in_the_terminal_by_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    env = PacMan(render_mode="human", layout="ring")
    env.reset(seed=0)
    env.step(0)
    assert env.render() is None
    assert capsys.readouterr().out.count("left\n") == 2
    assert pauses == [1 / 8, 1 / 8]


def outcome(env: PacMan, agent: ScriptedAgent, seed: int) -> dict[str, Any]:
    observation, info = env.reset(seed=seed)
    agent.begin()
    while True:
        observation, _, terminated, truncated, info = env.step(agent.act(observation, info))
        if terminated or truncated:
            return info


@pytest.mark.parametrize("name", GRID_AGENTS)
def test_only_the_oracle_clears_the_maze(name: str) -> None:
    env = PacMan()
    successes = [outcome(env, GRID_AGENTS[name](env, seed), seed)["success"] for seed in range(3)]
    assert successes == [name == "oracle"] * 3


def test_a_waiting_ghost_is_marked_harmless() -> None:
    observation, _ = PacMan(ghosts=2).reset(seed=0)
    assert not (observation & HARMLESS_BIT).any()  # the first ghost in the same cell is out
    env = PacMan(ghosts=4)
    env.reset(seed=0)
    for _ in range(3):
        observation, *_ = env.step(0)
    assert (observation & HARMLESS_BIT > 0).sum() == 1


def test_registering_does_not_load_numba() -> None:
    code = "import ludus, sys; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
