"""Levels of difficulty: what environments say makes their tasks harder."""

from typing import Any

import gymnasium
import pytest

import ludus  # noqa: F401
from ludus.envs.difficulty import levels_of
from ludus.envs.games.environment import GameChat, GameEnv
from ludus.registration import environment_ids

WITHOUT = ("Assistant", "CodeRepair", "DataAnalysis", "Graded", "Market-", "MathTool", "PacMan-")
"""Environments that do not say what makes their tasks harder."""


def test_every_level_raises_one_argument_the_first_to_its_end_before_the_second() -> None:
    assert levels_of({"size": (1, 2, 3), "ghosts": (0, 4)}) == [
        {"size": 1, "ghosts": 0},
        {"size": 2, "ghosts": 0},
        {"size": 3, "ghosts": 0},
        {"size": 3, "ghosts": 4},
    ]
    assert levels_of({}) == []


@pytest.mark.parametrize("id", environment_ids())
def test_every_level_of_an_environment_can_be_played(id: str) -> None:
    env = gymnasium.make(id)
    difficulties = getattr(env.unwrapped, "difficulties", {})
    env.close()
    assert bool(difficulties) == (not id.startswith(tuple(f"ludus/{name}" for name in WITHOUT)))
    shown = set()
    for level in levels_of(difficulties):
        env = gymnasium.make(id, **level)
        show = whole_game if isinstance(env.unwrapped, GameChat | GameEnv) else start
        shown.add(str([show(env, seed) for seed in range(4)]))
        env.close()
    assert len(shown) > 1 or not difficulties


def start(env: gymnasium.Env[Any, Any], seed: int) -> Any:
    return env.reset(seed=seed)[0]


def whole_game(env: gymnasium.Env[Any, Any], seed: int) -> Any:
    """An opponent shows how strong it is as it plays."""
    made: Any = env.unwrapped
    agent = made.scripted["random"](made, seed)
    observation, info = env.reset(seed=seed)
    told, ended = [observation], False
    while not ended:
        observation, _, ended, _, info = env.step(agent.act(observation, info))
        told.append(observation)
    return told


def test_the_small_weather_has_levels_of_its_own() -> None:
    env = gymnasium.make("ludus/Weather-v0", narrow=True)
    assert "towns" in env.unwrapped.difficulties
    for level in levels_of(env.unwrapped.difficulties):
        gymnasium.make("ludus/Weather-v0", narrow=True, **level).reset(seed=0)
