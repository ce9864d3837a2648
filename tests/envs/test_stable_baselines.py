"""Stable-Baselines3, and MaskablePPO of sb3-contrib, take the native forms as they are."""

import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import FlattenObservation

import ludus  # noqa: F401
from ludus.envs.games import GAMES

pytest.importorskip("sb3_contrib", reason="needs Stable-Baselines3: pip install sb3-contrib")

from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env

NATIVE = ("ludus/PacMan-v0", "ludus/Market-v0", *(f"ludus/{name}-v0" for name in GAMES))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("id", NATIVE)
def test_their_checker_is_content(id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(FlattenObservation(gymnasium.make(id)))


@pytest.mark.parametrize(
    ("algorithm", "id", "settings"),
    [
        (PPO, "ludus/Market-v0", {"n_steps": 64, "batch_size": 64, "n_epochs": 2}),
        (PPO, "ludus/PacMan-v0", {"n_steps": 64, "batch_size": 64, "n_epochs": 2}),
        (DQN, "ludus/PacMan-v0", {"learning_starts": 50}),
    ],
)
def test_they_train(algorithm: Any, id: str, settings: dict[str, Any]) -> None:
    envs = make_vec_env(id, 2, seed=0, wrapper_class=FlattenObservation)
    model = algorithm("MlpPolicy", envs, seed=0, device="cpu", **settings)
    before = [weights.clone() for weights in model.policy.parameters()]
    model.learn(256)
    assert model.num_timesteps == 256
    after = [*model.policy.parameters()]
    assert all(weights.isfinite().all() for weights in after)
    assert not all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    envs.close()


def results(model: Any, id: str, games: int) -> tuple[float, int]:
    """The mean outcome against `random`, and how many moves were illegal."""
    env = gymnasium.make(id, opponent="random")
    total, illegal = 0.0, 0
    for seed in range(games):
        seen, over = env.reset(seed=1000 + seed)[0].ravel(), False
        while not over:
            action, _ = model.predict(seen, deterministic=True, action_masks=get_action_masks(env))
            seen, _, over, _, info = env.step(action)
            seen = seen.ravel()
            illegal += info["reward_terms"]["illegal"] > 0
        total += info["reward_terms"]["outcome"]
    return total / games, illegal


@pytest.mark.slow
def test_the_recipe_learns_to_win() -> None:
    page = (Path(__file__).parents[2] / "docs" / "surfaces" / "research.md").read_text(encoding="utf-8")
    (code,) = [part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "sb3_contrib" in part]
    made: dict[str, Any] = {}
    exec(code, made)
    outcome, illegal = results(made["model"], "ludus/TicTacToe-v0", 150)
    assert illegal == 0
    # Random moves come to 0.30, an untrained policy's favourites to between 0.4 and 0.6.
    assert outcome > 0.75
    made["envs"].close()


@pytest.mark.slow
def test_maskable_ppo_learns_to_win_connect_four() -> None:
    id = "ludus/ConnectFour-v0"
    envs = make_vec_env(id, 8, seed=0, env_kwargs={"opponent": "random"}, wrapper_class=FlattenObservation)
    model = MaskablePPO(
        "MlpPolicy", envs, n_steps=128, batch_size=256, n_epochs=4, learning_rate=2e-3, gamma=1.0,
        seed=0, device="cpu",
    )  # fmt: skip
    model.learn(8192)
    outcome, illegal = results(model, id, 60)
    assert illegal == 0
    # Random moves come to 0.1, an untrained policy's favourites to 0.3.
    assert outcome > 0.5
    envs.close()


def test_maskable_ppo_plays_connect_four() -> None:
    """With the masks of `action_masks()`, and with those of their wrapper."""
    env = ActionMasker(
        FlattenObservation(gymnasium.make("ludus/ConnectFour-v0", opponent="random")),
        lambda env: env.unwrapped.action_masks(),  # type: ignore[attr-defined]
    )
    model = MaskablePPO("MlpPolicy", env, n_steps=128, batch_size=64, n_epochs=2, seed=0, device="cpu")
    model.learn(256)
    outcome, illegal = results(model, "ludus/ConnectFour-v0", 10)
    assert illegal == 0
    assert -1 <= outcome <= 1
    assert np.array_equal(get_action_masks(env), env.unwrapped.action_masks())  # type: ignore[attr-defined]
