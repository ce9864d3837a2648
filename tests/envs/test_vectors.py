"""How Gymnasium's vector environments and their wrappers treat the environments' infos."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

import ludus  # noqa: F401

COUNT = 3


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def batch(actions: list[Any]) -> Any:
    is_number = isinstance(actions[0], np.integer)
    return np.array(actions) if is_number else tuple(actions)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_infos_of_a_vector_are_those_of_its_environments(id: str, mode: AutoresetMode) -> None:
    many = SyncVectorEnv([lambda: gymnasium.make(id)] * COUNT, autoreset_mode=mode)
    vector = DictInfoToList(RecordEpisodeStatistics(many))
    singles = [gymnasium.make(id) for _ in range(COUNT)]
    _, infos = vector.reset(seed=4)
    assert [plain(info) for info in infos] == [
        plain(env.reset(seed=4 + k)[1]) for k, env in enumerate(singles)
    ]
    singles[0].action_space.seed(5)
    ended = False
    for _ in range(3):
        if ended:
            break
        actions = [singles[0].action_space.sample() for _ in range(COUNT)]
        *_, infos = vector.step(batch(actions))
        for env, action, info in zip(singles, actions, infos, strict=True):
            *_, terminated, truncated, expected = env.step(action)
            if terminated or truncated:
                ended = True
                assert info.pop("episode")["l"] > 0
                info = info["final_info"] if mode == AutoresetMode.SAME_STEP else info
            assert plain(info) == plain(expected)
    vector.close()


def test_infos_become_tensors(id: str) -> None:
    """`NumpyToTorch` converts every array in `info`, and an array of texts cannot be converted."""
    if gymnasium.spec(id).vector_entry_point is not None:
        numbers_only(gymnasium.make_vec(id, num_envs=COUNT, vectorization_mode="vector_entry_point"))
    numbers_only(gymnasium.make_vec(id, num_envs=COUNT, vectorization_mode="sync"))


def numbers_only(vector: gymnasium.vector.VectorEnv) -> None:
    vector.action_space.seed(0)
    told = [vector.reset(seed=1)[1], *(vector.step(vector.action_space.sample())[4] for _ in range(3))]
    for infos in told:
        assert all(array.dtype.kind in "biuf" for array in arrays(infos))
    vector.close()


def arrays(infos: dict[str, Any]) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for value in infos.values():
        found += arrays(value) if isinstance(value, dict) else [value]
    return found
