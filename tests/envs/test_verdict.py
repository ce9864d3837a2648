"""Every environment says, for records, what was right and why an episode failed; no agent is shown it."""

from typing import Any

import gymnasium as gym
import pytest

import ludus  # noqa: F401
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import user
from ludus.envs.rubric import Rubric

from .conftest import environments

RUN_PROGRAMS = ("ludus.envs.code.", "ludus.envs.math.mathtool.")


def play(id: str, agent: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """An environment in which a scripted agent has played an episode, and the last `info`."""
    env = gym.make(id, disable_env_checker=True)
    player = env.unwrapped.scripted[agent](env.unwrapped, seed)
    player.begin()
    observation, info = env.reset(seed=seed)
    ended = False
    while not ended:
        observation, _, terminated, truncated, info = env.step(player.act(observation, info))
        ended = terminated or truncated
    return env.unwrapped, info


@pytest.mark.parametrize("id", environments(lambda name: name == "PacManVision"))
def test_a_failure_has_a_reason_and_a_success_has_none(id: str, request: pytest.FixtureRequest) -> None:
    if str(gym.spec(id).entry_point).startswith(RUN_PROGRAMS):
        request.getfixturevalue("needs_sandbox")
    for agent in ("null", "oracle"):
        env, info = play(id, agent, seed=3)
        assert info["success"] == (agent == "oracle")
        assert env.verdict.expected
        assert bool(env.verdict.failure) == (agent == "null")
        assert "verdict" not in info
        env.close()


def test_a_new_episode_begins_without_a_reason() -> None:
    env, _ = play("ludus/Arithmetic-v0", "null", seed=0)
    env.reset(seed=1)
    assert not env.verdict.failure


def test_a_copy_keeps_the_reason() -> None:
    env, _ = play("ludus/Arithmetic-v0", "random", seed=0)
    other = gym.make("ludus/Arithmetic-v0").unwrapped
    other.restore(env.snapshot())
    assert other.verdict == env.verdict
    assert other.verdict.failure.startswith("answered ")


class Count(ChatEnv):
    """Say `three`, in two replies."""

    rubric = Rubric({"right": 1.0})
    max_turns = 2

    def start(self, rng: Any, options: Any) -> Start:
        return Start([user("Say three.")], "three", 0, "counting")

    def respond(self, state: int, text: str) -> Outcome:
        failure = "said four" if text == "four" else ""
        return Outcome(state + 1, [user("?")], {}, text in ("three", "four"), text == "three", failure)

    def expected(self, state: int) -> str:
        return "three"

    def unfinished(self, state: int) -> str:
        return f"{state} replies without it"


@pytest.mark.parametrize(
    ("replies", "failure"),
    [
        (["three"], ""),
        (["four"], "said four"),
        (["one", "three"], ""),
        (["one", "two"], "no end within 2 replies: 2 replies without it"),
    ],
)
def test_replies_that_run_out_say_what_is_missing(replies: list[str], failure: str) -> None:
    env = Count()
    env.reset(seed=0)
    for reply in replies:
        assert not env.verdict.failure
        env.step(reply)
    assert env.task_kind == "counting"
    assert env.verdict.failure == failure
