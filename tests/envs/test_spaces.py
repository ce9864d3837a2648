"""Spaces of text: what they contain, what they sample, and that vector environments return the true text."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.vector.utils import (
    batch_differing_spaces,
    batch_space,
    concatenate,
    create_empty_array,
    create_shared_memory,
    iterate,
    read_from_shared_memory,
    write_to_shared_memory,
)
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.spaces import Chat, Reply, UnicodeText

SPACES = (Chat, Reply, UnicodeText)
texts = st.text(st.characters(), max_size=60)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": texts},
    optional={"tool_call_id": texts},
)


def world(n: int = 4, max_length: int = 500) -> tuple:
    import multiprocessing

    space = Chat(max_length)
    memory = create_shared_memory(space, n=n, ctx=multiprocessing)
    return space, memory, read_from_shared_memory(space, memory, n=n)


@pytest.mark.parametrize("space", SPACES)
def test_samples_are_contained_and_follow_from_the_seed(space: type) -> None:
    first, second = space(seed=3), space(seed=3)
    drawn = [first.sample() for _ in range(200)]
    assert drawn == [second.sample() for _ in range(200)]
    assert all(sample in first for sample in drawn)
    assert drawn != [space(seed=4).sample() for _ in range(200)]
    assert all(sample in space(max_length=5) for sample in (space(5, seed=1).sample() for _ in range(100)))


def test_reply_samples_are_malformed_in_many_ways() -> None:
    space = Reply(seed=0)
    drawn = [space.sample() for _ in range(500)]
    assert "" in drawn
    assert any(isinstance(reply, dict) and reply.get("tool_calls") for reply in drawn)
    assert any(isinstance(reply, str) and "<answer>" in reply and "</answer>" not in reply for reply in drawn)
    assert any(isinstance(reply, str) and not reply.isascii() for reply in drawn)


@given(st.lists(messages, max_size=4))
def test_chat_contains_messages(chat: list) -> None:
    assert chat in Chat()
    if length := sum(len(message["content"]) for message in chat):
        assert chat in Chat(length)
    if length > 1:
        assert chat not in Chat(length - 1)


@pytest.mark.parametrize(
    "other",
    [
        None,
        "hi",
        (),
        {},
        [None],
        ["hi"],
        [{}],
        [{"role": "user"}],
        [{"role": "user", "content": None}],
        [{"role": "narrator", "content": "hi"}],
        [{"role": ["user"], "content": "hi"}],
        ({"role": "user"},),
    ],
)
def test_chat_contains_nothing_else(other: object) -> None:
    assert other not in Chat()


def test_reply_contains_texts_and_assistant_messages() -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": "{}"}}
    for reply in (
        "",
        "hé",
        {"role": "assistant", "content": "x"},
        {"role": "assistant", "tool_calls": [call]},
    ):
        assert reply in Reply()
    for other in (None, 3, b"x", {"role": "user", "content": "x"}, {"role": "assistant"}, ["x"]):
        assert other not in Reply()
    assert "xx" not in Reply(max_length=1)
    assert {"role": "assistant", "content": "xx"} not in Reply(max_length=1)


@pytest.mark.parametrize("space", SPACES)
def test_equality_is_kind_and_limit(space: type) -> None:
    assert space() == space()
    assert space() != space(max_length=7)
    assert all(space() != other() for other in SPACES if other is not space)
    assert copy.deepcopy(space(9)) == space(9)
    assert pickle.loads(pickle.dumps(space(9))) == space(9)
    with pytest.raises(ValueError, match="max_length=0"):
        space(0)
    with pytest.raises(ValueError, match="without mask"):
        space().sample(mask=np.ones(2, np.int8))


@pytest.mark.parametrize("space", SPACES)
def test_batches(space: type) -> None:
    single = space(seed=1)
    batched = batch_space(single, 3)
    assert batched == gymnasium.spaces.Tuple((single,) * 3)
    items = [single.sample() for _ in range(3)]
    joined = concatenate(single, items, create_empty_array(single, n=3))
    assert joined == tuple(items)
    assert joined in batched
    assert list(iterate(batched, joined)) == items
    assert batched.sample() in batched
    assert len({repr(sample) for sample in batch_space(space(seed=1), 20).sample()}) > 10
    differing = batch_differing_spaces([space(10), space(20)])
    assert differing == gymnasium.spaces.Tuple((space(10), space(20)))
    assert len(create_empty_array(single, n=2)) == 2


@given(st.lists(st.lists(messages, max_size=3), min_size=4, max_size=4))
def test_shared_memory_returns_what_was_written(chats: list) -> None:
    space, memory, view = world()
    for index, chat in enumerate(chats):
        write_to_shared_memory(space, index, chat, memory)
    assert copy.deepcopy(view) == tuple(chats)


def test_shared_memory_is_a_live_view() -> None:
    space, memory, view = world(2)
    for text in ("first", "second, and longer", "3"):
        write_to_shared_memory(space, 1, [{"role": "user", "content": text}], memory)
        assert view[1] == [{"role": "user", "content": text}]
        assert list(view)[1] == view[1] == view[-1] == view[1:][0]
        assert pickle.loads(pickle.dumps(view)) == tuple(view) == view
        assert text in repr(view)
    kept = copy.deepcopy(view)
    write_to_shared_memory(space, 1, [], memory)
    assert type(kept) is tuple
    assert kept[1] == [{"role": "user", "content": "3"}]
    assert len(view) == 2


def test_what_does_not_fit_is_refused() -> None:
    space, memory, _ = world(1, max_length=10)
    with pytest.raises(ValueError, match=r"does not fit.*larger max_length.*shared_memory=False"):
        write_to_shared_memory(space, 0, [{"role": "user", "content": "x" * 50_000}], memory)


def test_the_longest_contents_always_fit() -> None:
    space, memory, view = world(1, max_length=3_000)
    chat = [{"role": "user", "content": "🦊" * 3_000}]
    assert chat in space
    write_to_shared_memory(space, 0, chat, memory)
    assert view[0] == chat


class Both(gymnasium.Env):
    """Text inside a dictionary of observations, beside an array."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Dict(
            chat=Chat(200), note=UnicodeText(50), grid=gymnasium.spaces.Box(0, 9, (2,), np.int64)
        )
        self.action_space = Reply()

    def _observe(self, text: str) -> dict:
        return {
            "chat": [{"role": "user", "content": text}],
            "note": text[::-1],
            "grid": np.full(2, len(text) % 10),
        }

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        return self._observe(f"begin {self.np_random.integers(1000)}"), {}

    def step(self, action: object) -> tuple:
        return self._observe(f"heard {action!r} {self.np_random.integers(1000)}"), 0.0, False, False, {}


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_text_in_dictionaries_vectorises(context: str, copied: bool) -> None:
    synchronous = SyncVectorEnv([Both] * 2)
    shared = AsyncVectorEnv([Both] * 2, shared_memory=True, context=context, copy=copied)
    try:
        steps = [(synchronous.reset(seed=1)[0], shared.reset(seed=1)[0])]
        for actions in (("a", "né 🦊"), ({"role": "assistant", "content": "b"}, "")):
            expected, observation = synchronous.step(actions)[0], shared.step(actions)[0]
            steps.append((expected, copy.deepcopy(observation)))
        for expected, observation in steps[0 if copied else 1 :]:
            assert expected["chat"] == observation["chat"]
            assert expected["note"] == observation["note"]
            assert np.array_equal(expected["grid"], observation["grid"])
            assert observation in shared.observation_space
        assert len({repr(expected["chat"]) for expected, _ in steps}) == 3
    finally:
        shared.close()
