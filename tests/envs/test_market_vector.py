"""The vector form of the market is the single one, bit by bit."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ludus.envs.conformance.episodes import comparable
from ludus.envs.market import rules
from ludus.envs.market.environment import Market
from ludus.envs.market.vector import MarketVector

MARKETS = 5


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize(
    ("arguments", "threads"),
    [
        ({"max_steps": 9}, 1),
        ({"max_steps": 11, "latency": 5, "events": 5, "maker_fee": -0.1}, 3),
        ({"max_steps": 7, "traders": ("noise", "trend"), "size": 30, "risk": 0.1}, 1),
        *(
            pytest.param(arguments, threads, marks=pytest.mark.slow)
            for arguments, threads in (
                ({"max_steps": 9}, 3),
                ({"max_steps": 11, "latency": 5, "events": 5, "maker_fee": -0.1}, 1),
                ({"max_steps": 7, "traders": ("noise", "trend"), "size": 30, "risk": 0.1}, 3),
            )
        ),
    ],
)
def test_many_markets_are_the_single_ones(
    mode: AutoresetMode, arguments: dict[str, Any], threads: int
) -> None:
    single = SyncVectorEnv([lambda: Market(**arguments)] * MARKETS, autoreset_mode=mode)
    vector = MarketVector(MARKETS, autoreset_mode=mode, threads=threads, **arguments)
    assert comparable(vector.reset(seed=11)) == comparable(single.reset(seed=11))
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(40):
        actions = rng.integers(len(rules.ACTIONS), size=MARKETS)
        expected = single.step(actions)
        assert comparable(vector.step(actions)) == comparable(expected)
        ended = expected[2] | expected[3]
        ends += ended.sum()
        if mode == AutoresetMode.DISABLED and ended.any():
            options = {"reset_mask": ended}
            assert comparable(vector.reset(options=dict(options))) == comparable(
                single.reset(options=dict(options))
            )
    assert ends > MARKETS
    assert comparable(vector.reset()) == comparable(single.reset())
    vector.close()


def test_make_vec_makes_the_native_form() -> None:
    vector = gymnasium.make_vec("ludus/Market-v0", num_envs=300, max_steps=3)
    assert isinstance(vector, MarketVector)
    assert vector.spec is not None
    assert vector.spec.max_episode_steps == 3
    observations, infos = vector.reset(seed=0)
    assert observations in vector.observation_space
    assert len(set(infos["task"].tolist())) == 300
    for _ in range(3):
        *_, infos = vector.step(vector.action_space.sample())
    assert infos["_success"].all()
    vector.close()


def test_rewards_are_the_rubric_of_the_terms() -> None:
    vector = MarketVector(64, risk=0.013)
    vector.reset(seed=0)
    rng = np.random.default_rng(1)
    for _ in range(50):
        _, rewards, *_, infos = vector.step(rng.integers(len(rules.ACTIONS), size=64))
        terms = infos["reward_terms"]
        rows = [{name: terms[name][row] for name in vector.rubric.weights} for row in range(64)]
        assert rewards.tolist() == [vector.rubric(row) for row in rows]


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_every_market_is_rendered(mode: str) -> None:
    vector = MarketVector(3, render_mode=mode)
    vector.reset(seed=0)
    shown = vector.render()
    assert shown is not None
    assert len({str(np.asarray(each).tolist()) for each in shown}) == 3
    single = Market(render_mode=mode)
    single.reset(seed=1)
    assert np.array_equal(single.render(), shown[1])


ONE_SET_OF_TYPES = """
import gymnasium
import numpy as np
import ludus
from ludus.envs.market import rules

for id in ("ludus/Market-v0", "ludus/MarketChat-v0"):
    env = gymnasium.make(id).unwrapped
    env.reset(seed=0)
    env.foresight()
    env.step(1 if id == "ludus/Market-v0" else "<action>wait</action>")
vector = gymnasium.make_vec("ludus/Market-v0", num_envs=600, threads=2)
vector.reset(seed=0)
vector.step(vector.action_space.sample())
vector.close()
for kernel in (rules.deal, rules.draw, rules.begin, rules.decide, rules.advance, rules.look):
    assert len(kernel.signatures) == 1, kernel.signatures
"""


def test_each_kernel_is_compiled_for_one_set_of_types() -> None:
    """In a process of its own: other tests call kernels with arrays of their own."""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", ONE_SET_OF_TYPES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
