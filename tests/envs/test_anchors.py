"""`info["anchor"]`: the same state has the same key, however it was reached; another state has another."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest

import ludus  # noqa: F401 (registers the environments)
from ludus.envs.assistant.service_env import calling
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import user
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.game import Game, Games
from ludus.envs.rubric import Rubric


def keys(env: Any, replies: Sequence[Any], seed: int = 0) -> list[int]:
    """The anchors of an episode, that of the start first."""
    found = [env.reset(seed=seed)[1]["anchor"]]
    for reply in replies:
        *_, terminated, truncated, info = env.step(reply)
        found.append(info["anchor"])
        if terminated or truncated:
            break
    return found


class Corridor(ChatEnv):
    """Go left and right; how often one went plays no part, but is counted."""

    rubric = Rubric({"moved": 0.0})
    max_turns = 9
    scripted: Mapping[str, Any] = {}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        return Start([user("Go.")], "corridor", {"place": 0, "steps": 0})

    def respond(self, state: Any, text: str) -> Outcome:
        place = state["place"] + {"left": -1, "right": 1}.get(text, 0)
        return Outcome({"place": place, "steps": state["steps"] + 1}, [user("Gone.")], {})


class Counted(Corridor):
    def anchor(self, state: Any) -> int:
        return int(state["place"]) + 9


class Untellable(Corridor):
    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        return Start([user("Go.")], "corridor", {"place": 0, "steps": 0, "rule": print})

    def respond(self, state: Any, text: str) -> Outcome:
        return Outcome(state, [user("Gone.")], {})


def test_by_default_it_is_the_states_content() -> None:
    start, left, back, still = keys(Corridor(), ["left", "right", ""])
    assert len({start, left, back, still}) == 4  # the counter tells them apart
    start, left, back, still = keys(Counted(), ["left", "right", ""])
    assert start == back == still != left


def test_an_equal_observation_is_no_equal_state() -> None:
    env = Counted()
    assert keys(env, ["left"])[-1] != keys(env, ["right"])[-1]


def test_a_state_without_content_has_no_anchor_and_is_played_all_the_same() -> None:
    env = Untellable()
    assert "anchor" not in env.reset(seed=0)[1]
    *_, info = env.step("left")
    assert "anchor" not in info
    assert info["task"]


def test_tasks_are_told_apart() -> None:
    env = gymnasium.make("ludus/Arithmetic-v0")
    assert keys(env, [], seed=1) != keys(env, [], seed=2)
    assert keys(env, [], seed=1) == keys(gymnasium.make("ludus/Arithmetic-v0"), [], seed=1)


def test_restoring_brings_the_key_back() -> None:
    env = gymnasium.make("ludus/Quest-v0")
    start, *_ = keys(env, [])
    taken = env.unwrapped.snapshot()  # type: ignore[attr-defined]
    ways = [f"<action>go {direction}</action>" for direction in ("north", "east", "south", "west")]
    moved = {}
    for way in ways:
        env.unwrapped.restore(taken)  # type: ignore[attr-defined]
        moved[way] = env.step(way)[-1]["anchor"]
    assert len(set(moved.values()) - {start}) > 0
    for way in ways:
        env.unwrapped.restore(taken)  # type: ignore[attr-defined]
        assert env.step(way)[-1]["anchor"] == moved[way]


OPEN = """
#######
#P....#
#.###.#
#...G.#
#######
"""


def game_keys(moves: Sequence[int], **arguments: Any) -> list[int]:
    env = gymnasium.make("ludus/PacMan-v0", layout=OPEN, **arguments)
    return keys(env, moves)


UP, RIGHT, DOWN, LEFT = range(4)


def test_pacman_without_ghosts_is_where_he_is_and_what_is_left() -> None:
    there_and_back = game_keys([RIGHT, LEFT, RIGHT, LEFT, UP], ghosts=0)
    start, out, back, again, home, against_the_wall = there_and_back
    assert out == again
    assert back == home == against_the_wall
    assert len({start, out, back}) == 3  # a pellet is gone
    # Two ways to eat the same pellets and end in the same cell.
    first = game_keys([RIGHT, LEFT, DOWN, UP], ghosts=0)[-1]
    second = game_keys([DOWN, UP, RIGHT, LEFT], ghosts=0)[-1]
    assert first == second


def test_pacmans_ghosts_are_told_apart_and_what_none_looks_at_is_not() -> None:
    def state(kinds: tuple[str, ...], **words: int) -> int:
        """The anchor after Pac-Man stood still once, with some words of the state changed before."""
        games = Games(Game(layout=OPEN, ghosts=kinds, ghost_speed=0.5), 1)
        games.begin(np.ones(1, np.bool_), 0, 1)
        games.states[0, rules.GHOSTS + rules.WAIT] = 3
        for name, value in words.items():
            games.states[0, getattr(rules, name)] = value
        games.advance(np.array([rules.STAY]), np.zeros(1, np.bool_), 0, 1)
        return games.states.item(rules.ANCHOR)

    chaser, ambusher, patroller = (("chaser",), ("ambusher",), ("patroller",))
    assert state(chaser) == state(chaser, STEP=7, ROUND=7, RANDOM=5, FACING=rules.UP)
    assert state(ambusher) != state(ambusher, FACING=rules.UP)
    assert state(ambusher) == state(ambusher, STEP=7, ROUND=7, RANDOM=5)
    assert state(patroller) != state(patroller, ROUND=7)
    assert state(patroller) == state(patroller, STEP=7, FACING=rules.UP)
    # Ghosts that are frightened, or may be once more, wander at random.
    assert state(chaser, POWER_LEFT=1, RANDOM=5) != state(chaser, POWER_LEFT=1, RANDOM=6)
    assert state(chaser, FRIGHT=4, RANDOM=5) != state(chaser, FRIGHT=4, RANDOM=6)
    for word in range(rules.GHOSTS, rules.GHOSTS + rules.GHOST_SIZE):
        if word != rules.GHOSTS + rules.CELL:
            changed = Games(Game(layout=OPEN, ghosts=chaser, ghost_speed=0.5), 1)
            changed.begin(np.ones(1, np.bool_), 0, 1)
            changed.states[0, rules.GHOSTS + rules.WAIT] = 3
            changed.states[0, word] += 1
            changed.advance(np.array([rules.STAY]), np.zeros(1, np.bool_), 0, 1)
            assert changed.states.item(rules.ANCHOR) != state(chaser), word


def test_the_patroller_goes_round_as_before() -> None:
    """The round of the corners begins again after four times rows + columns steps."""
    game = Game(rows=7, columns=7, ghosts=("patroller",), ghost_speed=0.0, power_pellets=0)
    games = Games(game, 1)
    games.begin(np.ones(1, np.bool_), 0, 1)
    seen = []
    for _ in range(2 * 4 * 14):
        games.advance(np.array([rules.STAY]), np.zeros(1, np.bool_), 0, 1)
        seen.append(games.states.item(rules.ANCHOR))
    settled = seen[8:56]
    assert len(set(settled)) == 48
    assert settled == seen[8 + 56 : 112]


def test_in_random_games_the_key_is_the_same_exactly_where_what_matters_is() -> None:
    by_key: dict[int, bytes] = {}
    by_content: dict[bytes, int] = {}
    games = Games(Game(rows=9, columns=9, ghosts=2, power_pellets=2), 64)
    games.streams[:] = 5  # all from one start
    games.begin(np.ones(64, np.bool_), 0, 64)
    rng = np.random.default_rng(0)
    resting = np.zeros(64, np.bool_)
    for _ in range(60):
        games.advance(rng.integers(0, 4, 64), resting, 0, 64)
        resting |= games.terminated
        for grid, state in zip(games.grids, games.states, strict=True):
            words = state.copy()
            words[[rules.STEP, rules.ROUND, rules.ANCHOR]] = 0
            if not (state[rules.FRIGHT] or state[rules.POWER_LEFT]):
                words[rules.RANDOM] = 0
            content = grid.tobytes() + words.tobytes()
            key = int(state[rules.ANCHOR])
            assert by_key.setdefault(key, content) == content
            assert by_content.setdefault(content, key) == key
    assert len(by_key) > 100


def test_pacman_chat_keys_what_is_not_shown() -> None:
    env = gymnasium.make("ludus/PacManChat-v0", layout=OPEN, ghosts=("chaser",), ghost_speed=0.0)
    right, back = ("<action>right</action>", "<action>left</action>")
    start, refused, out, home = keys(env, ["nothing", right, back])
    assert refused == start
    assert len({start, out, home}) == 3
    # The moves of a reply that lead to the same place, one by one or at once.
    assert keys(env, ["<action>right left</action>"])[-1] == home


def test_arithmetic_challenge_keys_the_doubts_that_are_left() -> None:
    env = gymnasium.make("ludus/ArithmeticChallenge-v0", doubts=3, planted=0.0)
    wrong, none = "<think>1</think><answer>-7</answer>", "?"
    for seed in range(20):
        start, malformed, answered, *_ = keys(env, [none, wrong, wrong], seed=seed)
        assert malformed == start != answered


def test_code_repl_keys_program_and_replies() -> None:
    env = gymnasium.make("ludus/CodeFunctionRepl-v0", families=["basics"])
    start, malformed, *_ = keys(env, ["no program"])
    assert malformed != start  # a reply fewer is left, and said to be


def test_repair_keys_the_files() -> None:
    def call(name: str, **arguments: Any) -> Any:
        function = {"name": name, "arguments": arguments}
        return {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c", "type": "function", "function": function}],
        }

    env = gymnasium.make("ludus/CodeRepair-v0")
    more, other = (call("write_file", path="tests/more.py", content=text) for text in ("1\n", "2\n"))
    start, read, first, second, back = keys(env, [call("list_files"), more, other, more])
    assert start == read
    assert first == back != second


@pytest.mark.parametrize("faults", [None, {"slow": 0.2}])
def test_calls_are_counted_only_where_faults_follow_from_them(faults: Any) -> None:
    env = gymnasium.make("ludus/Weather-v0", faults=faults)
    env.reset(seed=0)
    looked = calling(env, ("geocode", {"name": "Lisbon"}))
    start, once, twice = keys(env, [looked, looked])
    assert (start == once == twice) == (faults is None)
