"""Pictures in messages: files that can be read by anybody, boards that can be read from them."""

import io
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import ludus  # noqa: F401
from ludus.envs.chat import content_images, content_text, image_part, text_part, user
from ludus.envs.conversation_picture import conversation_picture
from ludus.envs.errors import ArgumentError
from ludus.envs.games.catalogue import make_chat
from ludus.envs.grid.pacman.chat.environment import PacManChat
from ludus.envs.grid.pacman.chat.scripted import CHAT_AGENTS, read_signs
from ludus.envs.grid.pacman.chat.vision import PacManVision
from ludus.envs.grid.pacman.chat.where import PacManWhere
from ludus.envs.picture import from_url, longest_url, picture_part, png


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
@settings(max_examples=20)
def test_a_picture_survives_its_file(picture: np.ndarray) -> None:
    assert (np.array(Image.open(io.BytesIO(png(picture)))) == picture).all()
    url = picture_part(picture)["image_url"]["url"]
    assert (from_url(url) == picture).all()
    assert len(url) <= longest_url(*picture.shape[:2])


def test_what_does_not_compress_has_no_longer_url() -> None:
    noise = np.random.default_rng(0).integers(256, size=(160, 150, 3), dtype=np.uint8)
    url = picture_part(noise)["image_url"]["url"]
    assert 0.99 * longest_url(160, 150) < len(url) <= longest_url(160, 150)


@given(st.lists(st.text(max_size=300).map(user), max_size=4))
@settings(max_examples=10)
def test_any_conversation_is_drawn_in_one_size(messages: list[Any]) -> None:
    assert conversation_picture(messages).shape == (480, 640, 3)


def test_the_end_of_a_conversation_is_what_is_drawn() -> None:
    red = picture_part(np.full((300, 200, 3), (255, 0, 0), np.uint8))
    drawn = conversation_picture([user("line\n" * 99), user([red, text_part("look")])])
    # Its longer side is 144 pixels there.
    assert (drawn == (255, 0, 0)).all(-1).sum() == 144 * 96
    assert not (conversation_picture([user([red]), user("line\n" * 99)]) == (255, 0, 0)).all(-1).any()
    assert (conversation_picture([user([image_part(b"none")])]) != conversation_picture([])).any()


@pytest.mark.parametrize(
    "arguments",
    [{}, {"ghosts": 4, "pixels": 12, "ghost_speed": 1.0}, {"rows": 9, "columns": 11, "ghosts": 2, "view": 2}],
    ids=str,
)
def test_the_picture_shows_what_the_text_says(arguments: dict[str, Any]) -> None:
    texts, pictures = PacManChat(**arguments), PacManVision(**arguments)
    kinds = set()
    for seed in range(3):
        said, info = texts.reset(seed=seed)
        shown, same = pictures.reset(seed=seed)
        assert info == same
        agent = CHAT_AGENTS["random"](texts, seed)
        agent.begin()
        while True:
            assert shown in pictures.observation_space
            assert shown not in texts.observation_space
            line = content_text(said[-1]).splitlines()[-1]
            assert content_text(shown[-1]).splitlines()[-1] == line
            signs, read = read_signs(said, texts.game), read_signs(shown, pictures.game)
            if line == "Caught.":
                # The text says so by a sign of its own.
                signs = np.where(signs == "X", "P", signs)
            kinds |= {*signs.flat}
            np.testing.assert_array_equal(read, signs)
            reply = agent.act(said, info)
            said, _, terminated, truncated, info = texts.step(reply)
            shown, *_ = pictures.step(reply)
            if terminated or truncated:
                break
    assert {*"#._P"} <= kinds


def test_a_message_has_the_picture_and_then_the_text() -> None:
    env = PacManVision(observation="both", pixels=16)
    (rules, scene), _ = env.reset(seed=1)
    (told, board), _ = PacManChat().reset(seed=1)
    assert rules == told
    assert [part["type"] for part in scene["content"]] == ["image_url", "text"]
    assert scene["content"][1]["text"] == board["content"]
    assert from_url(*content_images(scene)).shape == (112, 112, 3)
    (answer,), *_ = env.step("no")
    assert answer["content"][1]["text"].startswith("No <action> found.")


@pytest.mark.parametrize("name", ["TicTacToe", "ConnectFour", "Othello", "Minichess", "Nim"])
def test_a_board_game_is_played_by_pictures(name: str) -> None:
    texts = make_chat(name, opponent="random", seat="second")
    pictures = make_chat(name, opponent="random", seat="second", observation="picture")
    both = make_chat(name, opponent="random", seat="second", observation="both")
    envs = (texts, pictures, both)
    said, shown, doubled = (env.reset(seed=3)[0] for env in envs)
    ended = False
    while not ended:
        assert shown in pictures.observation_space
        lines = content_text(said[-1]).splitlines()
        assert content_text(shown[-1]).splitlines() == ["[image]", lines[-1]]
        assert content_text(doubled[-1]).splitlines() == ["[image]", *lines]
        state = pictures.snapshot()[0].table.state
        assert (from_url(*content_images(shown[-1])) == pictures.game.picture(state)).all()
        reply = f"<action>{texts.game.word(texts.legal[-1])}</action>"
        (said, *_, ended, _, _), (shown, *_), (doubled, *_) = (env.step(reply) for env in envs)
    assert "You get" in content_text(shown[-1])


def test_pictures_that_would_show_hidden_cards_are_refused() -> None:
    with pytest.raises(ArgumentError, match="observation: 'picture' is unknown; choose from text"):
        gymnasium.make("ludus/KuhnPokerChat-v0", observation="picture")


@pytest.mark.parametrize("observation", ["picture", "text", "both"])
def test_where_pacman_is_can_be_seen(observation: str) -> None:
    env = PacManWhere(ghosts=4, observation=observation)
    cells, agent = set(), PacManWhere.scripted["oracle"](env)
    for seed in range(12):
        messages, _ = env.reset(seed=seed)
        assert messages in env.observation_space
        assert len(content_images(messages[-1])) == (observation != "text")
        reply = agent.act(messages, {})
        (answer,), reward, terminated, _, info = env.step(reply)
        assert (reward, terminated, info["success"], answer["content"]) == (1.0, True, True, "Right.")
        cells.add(reply)
    assert len(cells) > 6


@pytest.mark.parametrize(
    ("reply", "reward"),
    [("<action>{r} {c}</action>", 1.0), ("<action>{r},9</action>", 0.2), ("<action> 9 {c} </action>", 0.2)]
    + [(reply, -0.1) for reply in ("", "{r} {c}", "<action>{r}</action>", "<action>٣ {c}</action>")],
)
def test_a_half_right_place_earns_a_part(reply: str, reward: float) -> None:
    env = PacManWhere()
    env.reset(seed=5)
    row, column = env.verdict.expected.removeprefix("row ").split(", column ")
    assert env.step(reply.format(r=row, c=column))[1] == pytest.approx(reward)
