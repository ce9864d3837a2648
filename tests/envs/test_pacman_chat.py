"""The chat form of Pac-Man: what it says, how it reads replies, and that it is the same game."""

import re
import time
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import ludus  # noqa: F401 (registers the environments)
from ludus.envs.errors import ArgumentError
from ludus.envs.grid.pacman.chat.environment import PacManChat
from ludus.envs.grid.pacman.chat.scripted import CHAT_AGENTS
from ludus.envs.grid.pacman.environment import PacMan
from ludus.envs.grid.walking import DIRECTIONS
from ludus.envs.scripted import ScriptedAgent

HALL = """
#######
#Po..G#
#.###.#
#.....#
#######
"""


def act(*moves: str) -> str:
    return f"<action>{' '.join(moves)}</action>"


@pytest.mark.parametrize("arguments", [{}, {"render_mode": "ansi"}, {"render_mode": "rgb_array"}])
def test_gymnasiums_checker_has_nothing_to_say(arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("ludus/PacManChat-v0", **arguments).unwrapped)


def test_the_first_messages() -> None:
    env = PacManChat(layout=HALL, ghost_speed=0)
    (rules, scene), _ = env.reset(seed=0)
    assert rules == {
        "role": "system",
        "content": (
            "Pac-Man. P you, # wall, . pellet, o power pellet, _ empty, C chaser ghost, f harmless ghost. "
            "Eat all pellets, keep away from ghosts. "
            "Reply with 1 to 4 moves, like <action>up up left</action>."
        ),
    }
    assert scene == {
        "role": "user",
        "content": (
            "# # # # # # #\n# P o . . C #\n# . # # # . #\n# . . . . . #\n# # # # # # #\n"
            "11 left, open: right down"
        ),
    }


def test_a_plan_counts_all_its_moves() -> None:
    env = PacManChat(layout=HALL, ghost_speed=0)
    env.reset(seed=0)
    messages, reward, terminated, _, info = env.step(act("right", "right", "right", "right"))
    assert reward == 5 + 1 + 1 + 10 + 1
    assert set(info["reward_terms"]) == set(env.rubric.weights)
    counted = {name: count for name, count in info["reward_terms"].items() if count}
    assert counted == {"pellet": 3.0, "power": 1.0, "ghost": 1.0}
    assert messages[0]["content"].endswith("7 left, open: down left, ghosts frightened for 7")
    assert not terminated


def test_a_wall_ends_the_plan_with_an_explanation() -> None:
    env = PacManChat(layout=HALL, ghosts=0)
    env.reset(seed=0)
    messages, reward, terminated, truncated, info = env.step(act("down", "right", "down"))
    assert messages[0]["content"].startswith("Wall: cannot go right.\n# # #")
    assert reward == 1 - 0.5
    assert info["reward_terms"]["illegal"] == 1
    assert (terminated, truncated) == (False, False)


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        ("", "No <action> found."),
        ("up", "No <action> found."),
        ("<action>up", "No <action> found."),
        ("<action></action>", "The <action> is empty."),
        (act("jump"), "'jump' is not a move: use up, right, down or left."),
        (act("up", "up", "up", "up", "up"), "5 moves are too many."),
        (act("up") + act("down"), "2 <action> tags found, give one."),
        ({"role": "assistant", "content": "I give up."}, "No <action> found."),
    ],
)
def test_malformed_replies_are_answered_and_play_nothing(reply: Any, complaint: str) -> None:
    env = PacManChat()
    (_, scene), _ = env.reset(seed=0)
    (answer,), reward, terminated, _, info = env.step(reply)
    how = "Reply with 1 to 4 moves, like <action>up up left</action>."
    assert answer["content"] == f"{complaint} {how}\n{scene['content']}"
    assert reward == -0.5
    assert info["reward_terms"]["malformed"] == 1
    assert not terminated


@pytest.mark.parametrize(
    "reply", ["<action>RIGHT, right\n</action>", "I go east.\n<action> right right </action> Good."]
)
def test_moves_are_read_generously(reply: str) -> None:
    env = PacManChat(layout=HALL, ghosts=0)
    env.reset(seed=0)
    assert env.step(reply)[1] == 6


@settings(max_examples=200)
@given(
    st.text()
    | st.builds("<action>{}</action>".format, st.text(max_size=20))
    | st.from_regex(r"<.?action>[a-z ]*")
)
def test_no_text_breaks_it(text: str) -> None:
    env = PacManChat(ghosts=0)
    env.reset(seed=0)
    messages, reward, terminated, truncated, info = env.step(text)
    assert messages in env.observation_space
    assert reward == env.rubric(info["reward_terms"])
    assert reward <= 4
    assert (terminated, truncated) == (False, False)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_same_game_as_the_native_one(seed: int) -> None:
    """Its state, put into the native environment, plays on the same way."""
    chat = PacManChat(rows=9, columns=9, ghosts=2, ghost_speed=0.75, max_turns=100, plan_limit=1)
    native = PacMan(rows=9, columns=9, ghosts=2, ghost_speed=0.75, power_pellets=2, frightened_steps=10)
    messages, _ = chat.reset(seed=seed)
    native.reset(seed=0)
    state = chat.snapshot()[0]
    native.restore((state.grid, state.state, (0, True, "")))
    rng = np.random.default_rng(seed)
    ways = re.findall("[a-z]+", messages[-1]["content"].split("open: ")[1])
    for _ in range(100):
        move = str(rng.choice(ways))
        messages, reward, terminated, *_ = chat.step(act(move))
        _, expected, ended, _, info = native.step(DIRECTIONS.index(move))
        assert (reward, terminated) == (expected, ended)
        if ended:
            break
        ways = [name for name, way in zip(DIRECTIONS, info["action_mask"], strict=True) if way]
        assert f"open: {' '.join(ways)}" in messages[0]["content"]


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_is_its_moves_one_by_one(seed: int) -> None:
    env = PacManChat(max_turns=100)
    messages, _ = env.reset(seed=seed)
    start = env.snapshot()
    agent = CHAT_AGENTS["oracle"](env, seed)
    agent.begin()
    plan = re.findall(r"[a-z]+", agent.act(messages, {}))[1:-1]
    together = env.step(act(*plan))
    env.restore(start)
    apart = [env.step(act(move)) for move in plan]
    assert apart[-1][0] == together[0]
    assert sum(step[1] for step in apart) == together[1]


def test_turns_are_limited() -> None:
    env = PacManChat(max_turns=3)
    env.reset(seed=0)
    ends = [env.step("")[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_a_turn_on_the_smallest_board_is_at_most_eighty_tokens() -> None:
    """With the split into words, numbers, marks and line ends with which byte-level BPE tokenizers begin."""
    env = PacManChat()
    longest = 0
    for seed in range(40):
        observation, info = env.reset(seed=seed)
        agent = CHAT_AGENTS["random"](env, seed)
        agent.begin()
        rng = np.random.default_rng(seed)
        while True:
            reply = act(*rng.choice(DIRECTIONS, 2)) if rng.random() < 0.3 else agent.act(observation, info)
            observation, _, terminated, truncated, info = env.step(reply)
            text = observation[-1]["content"]
            longest = max(longest, len(re.findall(r"\n| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+", text)))
            if terminated or truncated:
                break
    assert 60 < longest <= 80


def test_a_partial_view_shows_a_window() -> None:
    env = PacManChat(rows=15, columns=15, view=2)
    (_, scene), _ = env.reset(seed=0)
    board = [line.split() for line in scene["content"].splitlines()[:-1]]
    assert [len(row) for row in board] == [5] * 5
    assert board[2][2] == "P"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [({"plan_limit": 0}, "plan_limit=0"), ({"max_turns": 0}, "max_turns=0"), ({"rows": 3}, "rows=3")],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        PacManChat(**arguments)


def test_it_draws_every_move_of_a_plan() -> None:
    env = PacManChat(layout=HALL, ghosts=0, render_mode="rgb_array_list")
    env.reset(seed=0)
    assert len(env.render()) == 1
    env.step(act("right", "right", "left"))
    pictures = env.render()
    assert len(pictures) == 3
    np.testing.assert_array_equal(pictures[0].shape, pictures[2].shape)
    assert (pictures[0] != pictures[1]).any()
    env.step("nonsense")
    assert len(env.render()) == 1


def test_it_draws_the_same_pictures() -> None:
    env = PacManChat(layout=HALL, render_mode="rgb_array")
    env.reset(seed=0)
    native = PacMan(layout=HALL, ghosts=1, render_mode="rgb_array")
    native.reset(seed=0)
    np.testing.assert_array_equal(env.render(), native.render())


def outcome(env: PacManChat, agent: ScriptedAgent, seed: int) -> dict[str, Any]:
    observation, info = env.reset(seed=seed)
    agent.begin()
    while True:
        observation, _, terminated, truncated, info = env.step(agent.act(observation, info))
        if terminated or truncated:
            return info


@pytest.mark.parametrize("name", CHAT_AGENTS)
def test_only_the_oracle_clears_the_maze(name: str) -> None:
    env = PacManChat()
    successes = [outcome(env, CHAT_AGENTS[name](env, seed), seed)["success"] for seed in range(5)]
    assert successes == [name == "oracle"] * 5


def test_a_reply_of_many_open_tags_is_read_in_linear_time() -> None:
    env = gymnasium.make("ludus/PacManChat-v0").unwrapped
    env.reset(seed=0)
    began = time.process_time()
    messages, *_ = env.step("<action>" * 100_000)
    assert "No <action> found" in messages[0]["content"]
    assert time.process_time() - began < 1.0
