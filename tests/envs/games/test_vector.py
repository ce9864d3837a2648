"""Many compiled board games are the single ones, bit by bit, with their opponents."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import ludus  # noqa: F401
from ludus.envs.conformance.episodes import comparable
from ludus.envs.errors import ArgumentError
from ludus.envs.games import lines

GAMES = 5


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize(
    ("id", "arguments", "threads"),
    [
        ("ludus/TicTacToe-v0", {}, 1),
        ("ludus/TicTacToe-v0", {"seat": "random", "error_limit": 1}, 3),
        ("ludus/ConnectFour-v0", {"seat": "second", "opponent": "random", "columns": 5, "rows": 4}, 2),
        ("ludus/TicTacToe-v0", {"seat": "random", "opponent": "oracle:30"}, 2),
        ("ludus/ConnectFour-v0", {"seat": "random"}, 1),
    ],
)
def test_many_games_are_the_single_ones(
    id: str, arguments: dict[str, Any], threads: int, mode: AutoresetMode
) -> None:
    single = SyncVectorEnv([lambda: gymnasium.make(id, **arguments)] * GAMES, autoreset_mode=mode)
    vector = gymnasium.make_vec(id, num_envs=GAMES, autoreset_mode=mode, threads=threads, **arguments)
    told = vector.reset(seed=11)
    assert comparable(told) == comparable(single.reset(seed=11))
    rng = np.random.default_rng(0)
    ends = {-1.0: 0, 0.0: 0, 1.0: 0}
    for _ in range(45):
        # One move in ten may be illegal.
        mask = told[-1]["action_mask"] if rng.random() < 0.9 else 1
        actions = (rng.random((GAMES, vector.single_action_space.n)) * mask).argmax(1)
        told, expected = vector.step(actions), single.step(actions)
        assert comparable(told) == comparable(expected)
        infos = told[4].get("final_info", told[4])
        for outcome in infos["reward_terms"]["outcome"][expected[2]] if "reward_terms" in infos else ():
            ends[float(outcome)] += 1
        if mode == AutoresetMode.DISABLED and expected[2].any():
            options = {"reset_mask": expected[2]}
            seen, infos = told = vector.reset(options=dict(options))
            # The masks of the continuing games are there, too; `SyncVectorEnv` loses them.
            only = {
                "action_mask": infos["action_mask"] * expected[2][:, None],
                "_action_mask": expected[2],
            }
            assert comparable((seen, infos | only)) == comparable(single.reset(options=dict(options)))
    assert ends[1.0]
    assert ends[-1.0]
    assert comparable(vector.reset()) == comparable(single.reset())
    vector.close()
    for kernel in (lines.begin, lines.advance, lines.reply, lines.look, lines.name_tasks):
        assert len(kernel.signatures) == 1


@pytest.mark.parametrize("id", ["ludus/TicTacToe-v0", "ludus/ConnectFour-v0"])
def test_the_board_of_every_game_is_shown(id: str) -> None:
    single = SyncVectorEnv([lambda: gymnasium.make(id, render_mode="ansi")] * 3)
    vector = gymnasium.make_vec(id, num_envs=3, render_mode="ansi")
    for env in (single, vector):
        env.reset(seed=2)
        env.step(np.array([0, 1, 2]))
    assert vector.render() == single.render()


def test_a_limit_that_would_cut_games_off_is_refused() -> None:
    with pytest.raises(ArgumentError, match="max_episode_steps=5: give an integer from 24"):
        gymnasium.make_vec("ludus/ConnectFour-v0", num_envs=2, max_episode_steps=5)
    single = gymnasium.make("ludus/ConnectFour-v0", opponent="random")
    assert single.spec is not None
    again = gymnasium.make_vec(single.spec, num_envs=2, vectorization_mode="vector_entry_point")
    assert again.spec is not None
    assert again.spec.max_episode_steps == single.spec.max_episode_steps
