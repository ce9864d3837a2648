"""Every environment can be copied, pickled and restored in the middle of an episode, and goes on the same."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import pytest

import ludus  # noqa: F401
from ludus.registration import environment_ids

REPLIES = 3


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(entry) for entry in value)
    return value


class Player:
    """Plays actions drawn once, in any number of environments."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        env.action_space.seed(3)
        self.actions = [env.action_space.sample() for _ in range(2 * REPLIES)]

    def steps(self, env: Any, begin: int, end: int) -> list[Any]:
        told: list[Any] = []
        for action in self.actions[begin:end]:
            observation, reward, terminated, truncated, info = env.step(action)
            told.append((plain(observation), reward, terminated, truncated, plain(info)))
            if terminated or truncated:
                break
        return told


def restored(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    assert env.spec is not None
    fresh = gymnasium.make(env.spec.id)
    fresh.unwrapped.restore(env.unwrapped.snapshot())  # type: ignore[attr-defined]
    return fresh


DUPLICATES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: pickle.loads(cloudpickle.dumps(env)),
    "deepcopy unwrapped": lambda env: copy.deepcopy(env.unwrapped),
    "pickle unwrapped": lambda env: pickle.loads(pickle.dumps(env.unwrapped)),
    "restore": restored,
}


def test_copies_go_on_as_the_original(id: str) -> None:
    env = gymnasium.make(id)
    player = Player(env)
    env.reset(seed=5)
    *_, (_, _, terminated, truncated, _) = told = player.steps(env, 0, REPLIES)
    middle = len(told)
    if terminated or truncated:
        middle -= 1
        env.reset(seed=5)
        player.steps(env, 0, middle)
    twins = {name: duplicate(env) for name, duplicate in DUPLICATES.items()}
    expected = player.steps(env, middle, 2 * REPLIES)
    assert expected
    next_episode = plain(env.reset())
    for name, twin in twins.items():
        assert player.steps(twin, middle, 2 * REPLIES) == expected, name
        if name != "restore":
            assert plain(twin.reset()) == next_episode, name
            assert twin.unwrapped.spec == env.unwrapped.spec, name
        twin.close()
    env.close()


def test_a_copy_before_the_first_episode_begins_as_the_original(id: str) -> None:
    env = gymnasium.make(id)
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        assert plain(twin.reset(seed=2)) == plain(env.reset(seed=2))
        twin.close()
    env.close()


COMPILED = [id for id in environment_ids() if gymnasium.spec(id).vector_entry_point is not None]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))])
@pytest.mark.parametrize("id", COMPILED)
def test_a_copy_of_many_games_goes_on_as_the_original(id: str, duplicate: Callable[[Any], Any]) -> None:
    envs: Any = gymnasium.make_vec(id, num_envs=4, threads=2)
    envs.reset(seed=1)
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(3)]
    envs.step(actions[0])
    twin = duplicate(envs)
    assert [plain(twin.step(each)) for each in actions] == [plain(envs.step(each)) for each in actions]
    assert plain(twin.reset()) == plain(envs.reset())
    twin.close()
    envs.close()


@pytest.mark.parametrize("id", ["ludus/TicTacToe-v0", "ludus/TicTacToeChat-v0"])
def test_an_opponent_of_ones_own_is_copied_by_cloudpickle(id: str) -> None:
    env = gymnasium.make(id, opponent=lambda view, legal: (0.0,) * (len(legal) - 1) + (1.0,))
    player = Player(env)
    env.reset(seed=5)
    player.steps(env, 0, 1)
    twin = pickle.loads(cloudpickle.dumps(env))
    assert player.steps(twin, 1, 2 * REPLIES) == player.steps(env, 1, 2 * REPLIES)


def test_a_snapshot_can_be_pickled(id: str) -> None:
    env: Any = gymnasium.make(id)
    player = Player(env)
    env.reset(seed=5)
    snapshot = pickle.loads(pickle.dumps(env.unwrapped.snapshot()))
    expected = player.steps(env, 0, 1)
    env.unwrapped.restore(snapshot)
    assert player.steps(env, 0, 1) == expected
    env.close()


def test_the_limit_on_steps_is_in_the_spec(id: str) -> None:
    env = gymnasium.make(id)
    assert env.spec is not None
    assert env.spec.max_episode_steps == env.unwrapped.max_turns  # type: ignore[attr-defined]
    assert gymnasium.spec(id).max_episode_steps is None  # the environment cuts off, not a wrapper
    assert gymnasium.make(id, max_episode_steps=2).spec.max_episode_steps == 2  # type: ignore[union-attr]


def test_seeds_may_be_numpys(id: str) -> None:
    env = gymnasium.make(id)
    expected = plain(env.reset(seed=7))
    for seed in (np.int64(7), np.uint8(7), np.array(7)):
        assert plain(env.reset(seed=seed)) == expected, type(seed)  # type: ignore[arg-type]
    env.close()


def test_what_is_no_seed_is_refused(id: str) -> None:
    env = gymnasium.make(id)
    for seed in (-1, 1.5, "7", [7]):
        with pytest.raises(ValueError, match="seed=") as refused:
            env.reset(seed=seed)  # type: ignore[arg-type]
        assert "give an integer ≥ 0" in str(refused.value)
    env.close()
