"""`TextObservation`: strings in and out, beside Gymnasium's own wrappers."""

from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import (
    FrameStackObservation,
    RecordEpisodeStatistics,
    RecordVideo,
    RenderCollection,
    TimeLimit,
    vector,
)

import ludus  # noqa: F401
from ludus.envs.math.arithmetic.environment import Arithmetic
from ludus.envs.math.arithmetic.scripted import Oracle
from ludus.envs.wrappers import TextObservation


def make() -> gymnasium.Env:
    return TextObservation(gymnasium.make("ludus/ArithmeticChallenge-v0"))


def test_strings_in_and_out() -> None:
    plain, env = Arithmetic(), TextObservation(Arithmetic())
    messages, info = plain.reset(seed=4)
    assert env.reset(seed=4) == ("\n\n".join(message["content"] for message in messages), info)
    reply = Oracle(plain).act(messages, info)
    text, reward, terminated, _, info = env.step(reply)
    assert (text, reward, terminated, info["success"]) == ("Correct.", 1.0, True, True)
    assert text in env.observation_space
    assert reply in env.action_space
    assert env.action_space.sample() in env.action_space


def test_it_passes_the_checker_but_for_being_a_wrapper(recwarn: object) -> None:
    check_env(make(), skip_render_check=True)
    assert all("different from the unwrapped version" in str(warning.message) for warning in recwarn)  # type: ignore[attr-defined]


def test_it_stacks_with_other_wrappers_and_can_be_made_from_its_spec() -> None:
    env = RecordEpisodeStatistics(TimeLimit(make(), max_episode_steps=2))
    text, _ = env.reset(seed=0)
    assert isinstance(text, str)
    env.step("x")
    *_, truncated, info = env.step("x")
    assert truncated
    assert info["episode"]["l"] == 2
    assert env.spec is not None
    again = gymnasium.make(env.spec)
    assert again.reset(seed=0)[0] == text


def test_vectors_return_the_true_text() -> None:
    synchronous, shared = SyncVectorEnv([make] * 2), AsyncVectorEnv([make] * 2, shared_memory=True)
    try:
        one, other = synchronous.reset(seed=3)[0], shared.reset(seed=3)[0]
        assert one == other
        assert one[0] != one[1]
        assert (
            synchronous.step(("é", "<answer>1</answer>"))[0]
            == shared.step(("é", "<answer>1</answer>"))[0]
            != one
        )
    finally:
        shared.close()


WRAPPERS: dict[str, Callable[[gymnasium.Env], gymnasium.Env]] = {
    "AddRenderObservation": lambda env: wrappers.AddRenderObservation(env, render_only=False),
    "AddWhiteNoise": lambda env: wrappers.AddWhiteNoise(env, 0.3),
    "Autoreset": wrappers.Autoreset,
    "ClipReward": lambda env: wrappers.ClipReward(env, -1, 1),
    "DelayObservation": lambda env: wrappers.DelayObservation(env, 1),
    "FlattenObservation": wrappers.FlattenObservation,
    "NormalizeReward": wrappers.NormalizeReward,
    "ObstructView": lambda env: wrappers.ObstructView(env, 0.1, 10),
    "OrderEnforcing": wrappers.OrderEnforcing,
    "PassiveEnvChecker": wrappers.PassiveEnvChecker,
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "RepeatAction": lambda env: wrappers.RepeatAction(env, 2),
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.5),
    "TimeAwareObservation": wrappers.TimeAwareObservation,
    "TimeLimit": lambda env: wrappers.TimeLimit(env, 2),
    "TransformAction": lambda env: wrappers.TransformAction(env, str.upper, None),
    "TransformObservation": lambda env: wrappers.TransformObservation(env, lambda chat: chat[-1:], None),
    "TransformReward": lambda env: wrappers.TransformReward(env, lambda reward: 2 * reward),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_that_ask_for_no_numbers_take_chats(name: str) -> None:
    env = WRAPPERS[name](gymnasium.make("ludus/PacManChat-v0", render_mode="rgb_array"))
    observation, _ = env.reset(seed=1)
    assert observation in env.observation_space
    for _ in range(2):
        observation, reward, *_ = env.step("up")
        assert observation in env.observation_space
        assert np.isfinite(reward)
    assert env.render().dtype == np.uint8
    env.close()


VECTOR_WRAPPERS: dict[str, Callable[[VectorEnv], VectorEnv]] = {
    "ClipReward": lambda envs: vector.ClipReward(envs, -1, 1),
    "DictInfoToList": vector.DictInfoToList,
    "NormalizeReward": vector.NormalizeReward,
    "RecordEpisodeStatistics": vector.RecordEpisodeStatistics,
    "TransformAction": lambda envs: vector.TransformAction(envs, lambda replies: replies[::-1]),
    "TransformObservation": lambda envs: vector.TransformObservation(envs, lambda chats: chats),
    "TransformReward": lambda envs: vector.TransformReward(envs, lambda rewards: 2 * rewards),
    "VectorizeTransformObservation": lambda envs: vector.VectorizeTransformObservation(
        envs, wrappers.TransformObservation, func=lambda chat: chat[-1:], observation_space=None
    ),
}


@pytest.mark.parametrize("name", VECTOR_WRAPPERS)
def test_wrappers_of_vectors_take_chats(name: str) -> None:
    envs = VECTOR_WRAPPERS[name](
        gymnasium.make_vec("ludus/PacManChat-v0", num_envs=2, vectorization_mode="sync")
    )
    chats, _ = envs.reset(seed=1)
    assert chats in envs.observation_space
    for _ in range(2):
        chats, rewards, *_ = envs.step(("up", "<action>up</action>"))
        assert chats in envs.observation_space
        assert np.isfinite(rewards).all()
    envs.close()


@pytest.mark.parametrize("padding", ["reset", "zero"])
def test_frames_of_a_chat_are_stacked(padding: str) -> None:
    env = FrameStackObservation(gymnasium.make("ludus/PacManChat-v0"), 3, padding_type=padding)
    first, _ = env.reset(seed=1)
    assert first in env.observation_space
    assert first[0] == ([] if padding == "zero" else first[2])
    second, *_ = env.step("<action>up</action>")
    assert second in env.observation_space
    assert second[1] == first[2]


def test_a_conversation_can_be_filmed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="incompatible with RecordVideo"):
        RecordVideo(gymnasium.make("ludus/Arithmetic-v0", render_mode="ansi"), str(tmp_path))
    env = RenderCollection(gymnasium.make("ludus/Maze-v0", render_mode="rgb_array"))
    env.reset(seed=1)
    env.step("<action>up</action>")
    before, after = env.render()
    assert before.shape == after.shape == (480, 640, 3)
    assert before.dtype == np.uint8
    assert (before != after).any()
