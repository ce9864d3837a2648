"""The vector form returns exactly what Gymnasium's `SyncVectorEnv` returns over single games."""

from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import ludus  # noqa: F401 (registers the environments)
from ludus.envs.errors import ArgumentError
from ludus.envs.grid.pacman.environment import PacMan
from ludus.envs.grid.pacman.vector import PacManVector

GAMES = 6


def assert_same(one: Any, other: Any, path: str = "") -> None:
    """Equal in values, types, shapes and keys, at every depth."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert set(one) == set(other), path
        for key in one:
            assert_same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, tuple):
        assert len(one) == len(other), path
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{path}/{place}")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), path
        if one.dtype == object:
            assert_same(tuple(one), tuple(other), path)
        else:
            np.testing.assert_array_equal(one, other, path)
    else:
        assert one == other, path


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize(
    ("arguments", "threads"),
    [
        ({}, 1),
        ({"view": 2, "rows": 9, "columns": 8}, 4),
        ({"layout": "ring", "max_steps": 7}, 1),
        ({"observation": "planes", "max_steps": 30}, 4),
        *(
            pytest.param(arguments, threads, marks=pytest.mark.slow)
            for arguments, threads in (
                ({}, 4),
                ({"view": 2, "rows": 9, "columns": 8}, 1),
                ({"layout": "ring", "max_steps": 7}, 4),
                ({"observation": "planes", "max_steps": 30}, 1),
            )
        ),
    ],
)
def test_many_games_are_the_single_ones(mode: AutoresetMode, threads: int, arguments: dict[str, Any]) -> None:
    single = SyncVectorEnv([lambda: PacMan(**arguments)] * GAMES, autoreset_mode=mode)
    vector = PacManVector(GAMES, autoreset_mode=mode, threads=threads, **arguments)
    assert_same(vector.reset(seed=11), single.reset(seed=11))
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(120):
        actions = rng.integers(4, size=GAMES)
        expected = single.step(actions)
        assert_same(vector.step(actions), expected)
        ended = expected[2] | expected[3]
        ends += ended.sum()
        if mode == AutoresetMode.DISABLED and ended.any():
            options = {"reset_mask": ended}
            observations, infos = vector.reset(options=dict(options))
            # The masks of the continuing games are there, too; `SyncVectorEnv` loses them.
            infos["action_mask"] *= ended[:, None]
            infos["_action_mask"] = ended.copy()
            assert_same((observations, infos), single.reset(options=dict(options)))
    assert ends > GAMES
    assert_same(vector.reset(seed=[3, 1, 4, 1, 5, 9]), single.reset(seed=[3, 1, 4, 1, 5, 9]))
    assert_same(vector.reset(), single.reset())
    vector.close()


def test_a_partial_reset_keeps_the_other_games_masks() -> None:
    vector = PacManVector(3, max_steps=4, autoreset_mode="Disabled")
    vector.reset(seed=[0, 1, 2])
    *_, infos = vector.step(np.array([0, 1, 2]))
    masks = infos["action_mask"].copy()
    _, infos = vector.reset(options={"reset_mask": np.array([True, False, False])})
    assert infos["_action_mask"].all()
    assert (infos["action_mask"][1:] == masks[1:]).all()
    assert (vector.action_masks() == infos["action_mask"].astype(bool)).all()
    assert vector.action_space.sample(tuple(infos["action_mask"])).shape == (3,)


@pytest.mark.parametrize("seed", [np.int64(11), np.array(11), np.array([11, 12, 13]), [np.uint8(11), 12, 13]])
def test_seeds_may_be_numpys(seed: Any) -> None:
    vector = PacManVector(3)
    assert_same(vector.reset(seed=seed), PacManVector(3).reset(seed=11))


@pytest.mark.parametrize("seed", [-1, "11", 1.5, [1, 2, -3], [1.5, 2, 3]])
def test_wrong_seeds_are_refused(seed: Any) -> None:
    with pytest.raises(ArgumentError, match="seed="):
        PacManVector(3).reset(seed=seed)


def test_make_vec_makes_the_native_form() -> None:
    vector = gymnasium.make_vec("ludus/PacMan-v0", num_envs=3, rows=9)
    assert isinstance(vector, PacManVector)
    assert vector.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert vector.spec is not None
    observations, infos = vector.reset(seed=0)
    assert observations in vector.observation_space
    assert infos["action_mask"].shape == (3, 4)
    vector.step(vector.action_space.sample())
    vector.close()
    vector.close()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_what_is_returned_never_changes_later(mode: AutoresetMode) -> None:
    vector = PacManVector(4, max_steps=3, autoreset_mode=mode)
    kept: list[Any] = [vector.reset(seed=0), *(vector.step(np.zeros(4, int)) for _ in range(3))]
    copies = deepcopy(kept)
    kept.append(vector.step(np.zeros(4, int)) if mode != AutoresetMode.DISABLED else vector.reset())
    assert_same(tuple(kept[:-1]), tuple(copies))


def test_rewards_are_the_rubric_of_the_terms() -> None:
    vector = PacManVector(64)
    vector.reset(seed=0)
    rng = np.random.default_rng(1)
    for _ in range(50):
        _, rewards, *_, infos = vector.step(rng.integers(4, size=64))
        terms = infos["reward_terms"]
        rows = [{name: terms[name][row] for name in vector.rubric.weights} for row in range(64)]
        assert rewards.tolist() == [vector.rubric(row) for row in rows]


def test_wrong_use_is_refused_in_one_line() -> None:
    with pytest.raises(ArgumentError, match="num_envs=0"):
        PacManVector(0)
    with pytest.raises(ArgumentError, match="autoreset_mode='Never': give one of 'NextStep'"):
        PacManVector(2, autoreset_mode="Never")
    with pytest.raises(ArgumentError, match="render_mode: 'human'"):
        PacManVector(2, render_mode="human")
    vector = PacManVector(2, max_steps=1, autoreset_mode="Disabled")
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"games \[0, 1\]"):
        vector.step(np.zeros(2, int))
    with pytest.raises(ArgumentError, match="3 seeds for 2 games"):
        vector.reset(seed=[1, 2, 3])
    with pytest.raises(ArgumentError, match="2 bools, at least one"):
        vector.reset(options={"reset_mask": np.zeros(2, bool)})
    vector.reset(seed=0)
    for actions in (np.array([0, 4]), np.array([-1, 0]), np.zeros(3, int)):
        with pytest.raises(ArgumentError, match="2 numbers from 0 to 3"):
            vector.step(actions)
    vector.step(np.zeros(2, int))
    with pytest.raises(gymnasium.error.ResetNeeded, match="have ended"):
        vector.step(np.zeros(2, int))


def test_frames_of_all_games() -> None:
    vector = PacManVector(3, rows=7, columns=9, render_mode="rgb_array")
    vector.reset(seed=0)
    frames = vector.render()
    assert frames is not None
    assert len(frames) == 3
    assert len({frame.tobytes() for frame in frames}) == 3


def test_a_spec_of_one_game_makes_many() -> None:
    single = gymnasium.make("ludus/PacMan-v0", rows=7, columns=7, max_steps=9)
    many = gymnasium.make_vec(single.spec, num_envs=2, vectorization_mode="vector_entry_point")
    assert many.game.digest == single.unwrapped.game.digest
