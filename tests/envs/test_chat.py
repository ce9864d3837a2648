"""Contents with images: their text, their space, how they vectorise."""

import multiprocessing
from typing import Any

import pytest
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.chat import (
    Chat,
    as_reply,
    content_images,
    content_text,
    image_part,
    part_image,
    text_part,
    tool_result,
    transcript,
    user,
)
from ludus.envs.grid.pacman.chat.environment import PacManChat
from ludus.envs.spaces import Chat as ChatSpace

PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)
parts = st.text(max_size=20).map(text_part) | st.binary(min_size=1, max_size=60).map(image_part)


def plotted(*contents: Any) -> Chat:
    return [tool_result({"id": "call_0"}, list(contents))]


def test_an_image_reads_as_its_mark_and_keeps_its_url() -> None:
    (message,) = plotted(text_part("made a plot"), image_part(PNG), text_part("done"))
    assert content_text(message) == "made a plot\n[image]\ndone"
    (url,) = content_images(message)
    assert url.startswith("data:image/png;base64,iVBORw0KGgo")
    assert transcript([message]) == "[tool]\nmade a plot\n[image]\ndone"


@given(st.text(max_size=30))
def test_a_text_reads_as_itself(text: str) -> None:
    assert content_text(user(text)) == text == content_text(plotted(text_part(text))[0])
    assert content_images(user(text)) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/plot.png",
        "data:text/html;base64,AAAA",
        "data:image/svg+xml;base64,AAAA",
        'data:image/png;base64,"><script>',
        "data:image/png;base64,AAAA\n",
        "",
        None,
        7,
    ],
)
def test_only_inline_pictures_are_images(url: Any) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    assert part_image(part) is None
    assert plotted(part) not in ChatSpace(max_image_length=1000)


@pytest.mark.parametrize("content", [None, 7, {"text": "hi"}, [None], ["hi"], [{"type": "text"}], [{}]])
def test_what_is_no_content_has_no_text(content: Any) -> None:
    message: Any = {"role": "tool", "content": content}
    assert content_text(message) == ""
    assert content_images(message) == []
    assert [message] not in ChatSpace(max_image_length=1000)


@given(st.lists(parts, max_size=4))
def test_the_space_counts_texts_and_images_apart(content: list) -> None:
    chat = plotted(*content)
    texts = sum(len(part["text"]) for part in content if part["type"] == "text")
    images = sum(len(url) for url in content_images(chat[0]))
    assert chat in ChatSpace(max(texts, 1), max_image_length=images)
    if texts > 1:
        assert chat not in ChatSpace(texts - 1, max_image_length=images)
    if images:
        assert chat not in ChatSpace(max(texts, 1), max_image_length=images - 1)
        assert chat not in ChatSpace()


def test_spaces_of_images_differ_and_sample_texts() -> None:
    with_images = ChatSpace(max_image_length=99)
    assert with_images != ChatSpace()
    assert with_images == ChatSpace(max_image_length=99)
    assert hash(with_images) == hash(ChatSpace(max_image_length=99))
    assert repr(with_images) == "Chat(max_length=16384, max_image_length=99)"
    assert ChatSpace(seed=5, max_image_length=99).sample() == ChatSpace(seed=5).sample()


def test_images_pass_through_shared_memory() -> None:
    chat = plotted(text_part("é" * 100), image_part(bytes(7400)))
    space = ChatSpace(100, max_image_length=10_000)
    memory = create_shared_memory(space, n=2, ctx=multiprocessing)
    view = read_from_shared_memory(space, memory, n=2)
    write_to_shared_memory(space, 1, chat, memory)
    assert view[1] == chat
    assert view[0] == ()


class _ClientMessage:
    """A message as OpenAI's client gives it: attributes, `model_dump`, fields that are None."""

    def __init__(self, content: str | None, tool_calls: list[dict[str, Any]] | None = None) -> None:
        self.role, self.content, self.tool_calls = "assistant", content, tool_calls

    def model_dump(self) -> dict[str, Any]:
        absent = dict.fromkeys(("refusal", "audio", "function_call", "annotations"))
        return {"role": self.role, "content": self.content, "tool_calls": self.tool_calls, **absent}


def test_a_clients_message_is_the_reply_that_it_holds() -> None:
    env = PacManChat(layout="ring")
    message = _ClientMessage("<action>left</action>")
    for reply in (message, message.model_dump()):
        assert reply in env.action_space
        env.reset(seed=0)
        said = env.step(reply)
        env.reset(seed=0)
        assert said == env.step("<action>left</action>")
    call = {"id": "a", "type": "function", "function": {"name": "x", "arguments": "{}"}}
    assert _ClientMessage(None, [call]) in env.action_space
    assert _ClientMessage(None) not in env.action_space
    assert as_reply(_ClientMessage(None, [call])) == {
        "role": "assistant",
        "content": None,
        "tool_calls": [call],
    }
