"""Every game keeps the form, and is the same game in each of its forms."""

import contextlib
import io
import random
import types
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import (
    api_test,
    max_cycles_test,
    parallel_api_test,
    parallel_seed_test,
    render_test,
    seed_test,
)

import ludus  # noqa: F401
from ludus.envs import games
from ludus.envs.errors import ArgumentError
from ludus.envs.games.player import choose, named, player_names
from ludus.envs.games.table import number_for, outcome, sit_down, submit, waiting

NAMES = [*games.GAMES]
LASTS = {
    "Bargaining": 21,
    "ConnectFour": 0,
    "KuhnPoker": 192,
    "LeducPoker": 5,
    "Minichess": 61,
    "Nim": 6,
    "Othello": 3,
    "PrisonersDilemma": 0,
    "TicTacToe": 0,
}
"""The first seed of each game with which moves drawn without the mask, of which illegal ones change nothing,
do not end it within four of each seat."""


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- the rules


@settings(max_examples=20)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 10**6))
def test_a_game_of_random_moves_keeps_the_form(name: str, seed: int) -> None:
    game, source = games.make_game(name), random.Random(seed)
    state = game.start()
    made = [0] * game.seats
    while game.outcome(state) is None:
        before = hash(state)
        if outcomes := game.chance(state):
            assert game.to_move(state) == ()
            assert sum(p for p, _ in outcomes) == pytest.approx(1)
            state = source.choice(outcomes)[1]
            continue
        moves = {}
        for seat in game.to_move(state):
            legal = game.legal(state, seat)
            assert legal
            assert list(legal) == sorted(set(legal))
            assert 0 <= legal[0] <= legal[-1] < game.actions
            seen = game.array(game.view(state, seat))
            assert seen.shape == game.shape
            assert seen.dtype == np.float32
            assert seen.min() >= 0
            assert seen.max() <= 1
            assert game.tell(game.view(state, seat))
            moves[seat] = source.choice(legal)
            made[seat] += 1
        after = game.play(state, moves)
        assert after != state
        assert hash(state) == before
        assert game.picture(state).dtype == np.uint8
        state = after
    result = game.outcome(state)
    assert result is not None
    assert all(game.low <= value <= game.high for value in result)
    assert max(made) <= game.longest
    assert game.to_move(state) == ()


def test_every_move_has_one_word(name: str) -> None:
    game = games.make_game(name)
    assert [game.read(game.word(move)) for move in range(game.actions)] == list(range(game.actions))
    assert game.read(f"  {game.word(1).upper()}\n") == 1
    assert game.read("resign") is None


def test_every_player_answers_with_probabilities(name: str) -> None:
    game = games.make_game(name)
    for player in (*player_names(game), *game.opponents, "random:50"):
        if player != "minimax":
            table = sit_down(game, 3)
            for _ in range(4):
                for seat in waiting(game, table):
                    move = choose(game, named(game, player), table.state, seat, number_for(table, seat))
                    table = submit(game, table, seat, move, 3)
            assert table.errors == (0,) * game.seats


# --- PettingZoo


def test_pettingzoos_own_tests_pass(name: str) -> None:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("error")
        # PettingZoo warns of every observation that is no plain array, except in games of its own.
        for expected in (
            "Observation is not a NumPy",
            "Observation space for each",
            "Observation numpy array is all",
        ):
            warnings.filterwarnings("ignore", expected)
        api_test(games.aec(name), num_cycles=60)
        parallel_api_test(games.parallel(name), num_cycles=60)
        seed_test(lambda: games.aec(name), num_cycles=30)
        parallel_seed_test(lambda: games.parallel(name), num_cycles=30)
        render_test(lambda render_mode: games.aec(name, render_mode=render_mode))


def test_max_cycles(name: str) -> None:
    """PettingZoo's test draws moves without the mask, and no game may end before it is cut off."""

    def seeded(env: Any) -> Any:
        env.reset(seed=LASTS[name])
        for number, agent in enumerate(env.possible_agents):
            env.action_space(agent).seed(LASTS[name] + number)
        return env

    module = types.SimpleNamespace(
        env=lambda max_cycles: seeded(games.aec(name, max_cycles=max_cycles, error_limit=100)),
        parallel_env=lambda max_cycles: seeded(games.parallel(name, max_cycles=max_cycles, error_limit=100)),
    )
    max_cycles_test(module)


def test_the_observation_space_holds_what_is_observed(name: str) -> None:
    env = games.aec(name)
    env.reset(seed=1)
    for agent in env.agent_iter():
        observation, _, terminated, _, _ = env.last()
        for each in env.agents:
            assert env.observe(each) in env.observation_space(each)
        env.step(None if terminated else env.action_space(agent).sample(observation["action_mask"]))


def test_a_seat_forfeits_by_illegal_moves() -> None:
    env = games.aec("TicTacToe", error_limit=2)
    env.reset(seed=0)
    env.step(4)
    for count in (1, 2):
        assert env.agent_selection == "player_1"
        env.step(4)
        assert env.infos["player_1"] == {"errors": count}
    assert env.rewards == {"player_0": 1.0, "player_1": -1.0}
    assert all(env.terminations.values())


def test_a_move_outside_the_space_and_a_step_without_a_game_are_refused() -> None:
    env, together = games.aec("TicTacToe"), games.parallel("TicTacToe")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        together.step({})
    env.reset()
    together.reset()
    with pytest.raises(ArgumentError, match="from 0 to 8"):
        env.step(9)
    with pytest.raises(ArgumentError, match="action None"):
        together.step({"player_1": 3})


# --- the same game in every form


class Player:
    """Makes moves for the first seat from a seed; some are illegal."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)

    def move(self, mask: np.ndarray) -> int:
        forbidden = np.flatnonzero(mask == 0).tolist()
        if forbidden and self.source.random() < 0.1:
            return self.source.choice(forbidden)
        return self.source.choice(np.flatnonzero(mask).tolist())


def by_gymnasium(name: str, seed: int) -> list[Any]:
    env = gymnasium.make(f"ludus/{name}-v0", opponent="random")
    chat = gymnasium.make(f"ludus/{name}Chat-v0", opponent="random")
    player, game = Player(seed), env.unwrapped.game  # type: ignore[attr-defined]
    observation, info = env.reset(seed=seed)
    messages, _ = chat.reset(seed=seed)
    told, ended, total = [], False, 0.0
    while not ended:
        told.append((observation.tolist(), info["action_mask"].tolist(), told_of(messages)))
        move = player.move(info["action_mask"])
        observation, reward, ended, _, info = env.step(move)
        messages, same_reward, same_end, _, same_info = chat.step(f"<action>{game.word(move)}</action>")
        assert (same_reward, same_end) == (reward, ended)
        assert same_info["reward_terms"] == info["reward_terms"]
        total = info["reward_terms"]["outcome"]
    return [*told, (observation.tolist(), total)]


def told_of(messages: Any) -> str:
    """Without what was wrong with the last move."""
    return "\n".join(line for line in messages[-1]["content"].splitlines() if not line.startswith("Illegal"))


def other_move(env: Any, seat: int) -> int:
    table = env._table
    return choose(env.game, named(env.game, "random"), table.state, seat, number_for(table, seat))


def by_aec(name: str, seed: int) -> list[Any]:
    env, player = games.aec(name), Player(seed)
    env.reset(seed=seed)
    told = []
    for agent in env.agent_iter():
        observation, reward, terminated, _, _ = env.last()
        if agent == "player_0":
            seen = observation["observation"].tolist()
            if terminated:
                return [*told, (seen, reward)]
            told.append((seen, observation["action_mask"].tolist(), told_of(observation["messages"])))
            env.step(player.move(observation["action_mask"]))
        else:
            env.step(None if terminated else other_move(env, 1))
    raise AssertionError("it has no end")


def by_parallel(name: str, seed: int) -> list[Any]:
    env, player = games.parallel(name), Player(seed)
    observations, _ = env.reset(seed=seed)
    told = []
    while env.agents:
        own = observations["player_0"]
        actions = {"player_0": 0, "player_1": 0}
        if own["action_mask"].any():
            told.append((own["observation"].tolist(), own["action_mask"].tolist(), told_of(own["messages"])))
            actions["player_0"] = player.move(own["action_mask"])
        if observations["player_1"]["action_mask"].any():
            actions["player_1"] = other_move(env, 1)
        observations, rewards, _, _, _ = env.step(actions)
    return [*told, (observations["player_0"]["observation"].tolist(), rewards["player_0"])]


def test_whole_games_are_the_same_in_every_form(name: str) -> None:
    for seed in range(6):
        expected = by_gymnasium(name, seed)
        assert by_aec(name, seed) == expected
        assert by_parallel(name, seed) == expected


def test_games_differ_by_seed(name: str) -> None:
    assert len({repr(by_aec(name, seed)) for seed in range(6)}) > 1


# --- what is hidden


@pytest.mark.parametrize("name", ["Bargaining", "PrisonersDilemma"])
def test_moves_made_at_the_same_time_are_hidden(name: str) -> None:
    seen = []
    for first in (0, 1):
        env = games.aec(name)
        env.reset(seed=1)
        env.step(first)
        assert env.agent_selection == "player_1"
        seen.append(repr(env.observe("player_1")))
    assert seen[0] == seen[1]


def test_scripted_players_see_a_view_only(name: str) -> None:
    """A strategy is given what `view` gives, and what the seat itself may do."""
    game = games.make_game(name)
    given_: list[Any] = []

    def spy(view: Any, legal: tuple[int, ...]) -> tuple[float, ...]:
        given_.append((view, legal))
        return (1 / len(legal),) * len(legal)

    env: Any = gymnasium.make(f"ludus/{name}Chat-v0", opponent=spy, seat="second").unwrapped
    env.reset(seed=2)
    (view, legal), table = given_[0], sit_down(game, env._state.table.seed)
    assert view == game.view(table.state, 0)
    assert legal == game.legal(table.state, 0)


# --- the environments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"opponent": "oracel"}, "opponent: 'oracel' is unknown; did you mean oracle"),
        ({"opponent": "minimax:99"}, "1 to 20"),
        ({"opponent": "minimax"}, "minimax:3"),
        ({"opponent": "oracle:x"}, "oracle:75"),
        ({"opponent": "oracle:500"}, "the share is of 100 moves"),
        ({"opponent": 3}, "opponent=3: give a player's name"),
        ({"seat": "third"}, "seat: 'third' is unknown"),
        ({"error_limit": 0}, "error_limit=0"),
    ],
)
def test_a_wrong_argument_is_refused(arguments: dict[str, Any], message: str) -> None:
    for id in ("ludus/TicTacToe-v0", "ludus/TicTacToeChat-v0"):
        with pytest.raises(ArgumentError, match=message):
            gymnasium.make(id, **arguments)


@pytest.mark.parametrize("answer", [(0.5,), (1.0,) * 9, None, ("x",) * 9, (-1.0, 2.0, *(0.0,) * 7)])
def test_a_strategy_that_gives_no_probabilities_is_refused(answer: Any) -> None:
    env = gymnasium.make("ludus/TicTacToe-v0", opponent=lambda view, legal: answer, seat="second")
    with pytest.raises(ArgumentError, match="one probability for each"):
        env.reset(seed=0)


def test_an_unknown_game_is_refused() -> None:
    with pytest.raises(ArgumentError, match="did you mean TicTacToe"):
        games.aec("TikTacToe")


def test_a_random_seat_is_either() -> None:
    env: Any = gymnasium.make("ludus/TicTacToeChat-v0", seat="random").unwrapped
    seats = []
    for seed in range(20):
        messages, _ = env.reset(seed=seed)
        seats.append("You are X" in messages[0]["content"])
        assert ("X" in messages[1]["content"].split("You are")[0]) != seats[-1]
    assert len(set(seats)) == 2


def test_errors_are_explained_counted_and_lose() -> None:
    env = gymnasium.make("ludus/TicTacToeChat-v0", opponent="random", error_limit=3)
    messages, _ = env.reset(seed=1)
    messages, reward, *_ = env.step("<action>b2</action>")
    assert reward == 0
    for reply, complaint, term in (
        ("<action>b2</action>", "Illegal here: b2.", "illegal"),
        ("I pass", "No <action> found.", "malformed"),
        ("<action>z9</action>", "A move is written as b2.", "malformed"),
    ):
        messages, reward, terminated, _, info = env.step(reply)
        assert messages[0]["content"].startswith(complaint)
        assert info["reward_terms"][term] == 1
        assert reward == pytest.approx(-0.1 - terminated)
    assert terminated
    assert info["success"] is False
    assert "lost by too many errors. You get -1." in messages[0]["content"]
    assert env.unwrapped.verdict.failure == "forfeited by 3 illegal or malformed moves"  # type: ignore[attr-defined]


def test_the_end_of_a_table_stays_its_end(name: str) -> None:
    game = games.make_game(name)
    table = sit_down(game, 0)
    seat = waiting(game, table)[0]
    table = submit(game, table, seat, None, 1)
    assert waiting(game, table) == ()
    result = outcome(game, table)
    assert result is not None
    assert result[seat] == game.low
    assert {result[other] for other in range(game.seats) if other != seat} == {game.high}
