"""PacManVersus is PettingZoo's, and the game of `ludus/PacMan-v0`."""

import contextlib
import io
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test, render_test
from pettingzoo.utils import parallel_to_aec

from ludus.envs.errors import ArgumentError
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.environment import PacMan
from ludus.envs.grid.pacman.versus import OWN_WAY, PacManVersus

GHOSTS = [f"ghost_{number}" for number in range(4)]


def test_pettingzoos_own_tests_pass() -> None:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("error")
        for arguments in ({}, {"view": 2, "ghosts": 2}, {"max_steps": 7}):
            parallel_api_test(PacManVersus(**arguments), num_cycles=60)
        parallel_seed_test(PacManVersus, num_cycles=60)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # Of the wrapper, which warns of dictionaries.
        warnings.simplefilter("ignore")
        render_test(lambda render_mode: parallel_to_aec(PacManVersus(render_mode=render_mode)))


def headings(env: PacMan) -> list[int]:
    """Where ghosts have last gone."""
    states = env._games.states[0]
    return [states.item(rules.GHOSTS + g * rules.GHOST_SIZE + rules.HEADING) for g in range(4)]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [{"rows": 9, "columns": 9, "ghost_speed": 0.4}, {"rows": 9, "columns": 11, "view": 2, "max_steps": 40}],
)
def test_ghosts_that_go_where_they_would_make_the_same_game(told: bool, arguments: dict[str, Any]) -> None:
    single, versus = PacMan(**arguments), PacManVersus(**arguments)
    rng = np.random.default_rng(5)
    frightened, told_ways = 0, 0
    for seed in range(12):
        seen, info = single.reset(seed=seed)
        several, infos = versus.reset(seed=seed)
        over = False
        while not over:
            assert np.array_equal(several["pacman"]["observation"], seen)
            assert np.array_equal(several["pacman"]["action_mask"], info.pop("action_mask"))
            assert infos["pacman"] == info
            move = int(rng.choice(np.flatnonzero(several["pacman"]["action_mask"])))
            seen, reward, terminated, truncated, info = single.step(move)
            # Told to go where the script has gone, which no ghost could know beforehand.
            ways = [way if told and way != rules.STAY else OWN_WAY for way in headings(single)]
            told_ways += sum(way != OWN_WAY for way in ways)
            actions = {"pacman": move, **dict(zip(GHOSTS, ways, strict=True))}
            several, rewards, ends, cuts, infos = versus.step(actions)
            frightened += info["frightened"] > 0
            assert rewards["pacman"] == reward
            assert sum(rewards.values()) == pytest.approx(0)
            assert set(ends.values()) == {terminated}
            assert set(cuts.values()) == {truncated}
            over = terminated or truncated
        assert versus.agents == []
    assert frightened > 20
    assert (told_ways > 100) == told


def test_a_ghost_goes_where_it_is_told() -> None:
    env = PacManVersus(layout="ring", ghosts=1, ghost_speed=1.0, frightened_steps=5)
    rng = np.random.default_rng(1)
    moved = 0
    for seed in range(6):
        seen, infos = env.reset(seed=seed)
        while env.agents:
            before, mask = seen["ghost_0"]["place"], seen["ghost_0"]["action_mask"]
            way = int(rng.choice(np.flatnonzero(mask)))
            free = not infos["ghost_0"]["frightened"] and not infos["ghost_0"]["waits"]
            assert mask[:OWN_WAY].any() == free
            pacman = int(rng.choice(np.flatnonzero(seen["pacman"]["action_mask"])))
            seen, _, _, _, infos = env.step({"pacman": pacman, "ghost_0": way})
            if env.agents and way != OWN_WAY and not infos["ghost_0"]["frightened"]:
                step = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)][way])
                assert np.array_equal(seen["ghost_0"]["place"], before + step)
                moved += 1
    assert moved > 20


def test_views_are_the_agents_own() -> None:
    env, whole = PacManVersus(view=1), PacManVersus()
    near, _ = env.reset(seed=3)
    far, _ = whole.reset(seed=3)
    for agent in env.agents:
        row, column = near[agent]["place"]
        cells = far[agent]["observation"][row - 1 : row + 2, column - 1 : column + 2]
        assert np.array_equal(near[agent]["observation"], cells)
        assert near[agent] in env.observation_space(agent)


def test_what_it_cannot_play_is_refused() -> None:
    env = PacManVersus(ghosts=1)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step({})
    env.reset()
    with pytest.raises(ArgumentError, match="action None: give 0 \\(up\\)"):
        env.step({"pacman": 0})
    with pytest.raises(ArgumentError, match="4 \\(own way\\)"):
        env.step({"pacman": 0, "ghost_0": 5})
    with pytest.raises(ArgumentError, match="negative"):
        env.reset(seed=-1)
