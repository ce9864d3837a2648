"""`ludus/TextArena-v0`: another library's games, with our promises."""

import random
import re
from typing import Any

import gymnasium
import pytest

import ludus  # noqa: F401
from ludus.envs.conformance import CHECKS, check
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault

pytest.importorskip("textarena", reason="needs textarena: .ci/foreign.sh")
ID = "ludus/TextArena-v0"


def make(game: str = "TicTacToe-v0", **arguments: Any) -> Any:
    return gymnasium.make(ID, game=game, **arguments).unwrapped


def play(env: Any, seed: int, *moves: str) -> list[Any]:
    env.reset(seed=seed)
    return [env.step(move) for move in moves]


def lowest(seen: str) -> str:
    """An opponent of TicTacToe who takes the lowest square that is free."""
    return str(re.findall(r"'(\[\d\])'", seen.rpartition("Available Moves")[2])[0])


@pytest.mark.slow
def test_conforms() -> None:
    report = check(ID, episodes=10)
    assert report.passed, str(report)
    assert [outcome.name for outcome in report.checks] == list(CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("game", ["Blackjack-v0", "KuhnPoker-v0", "PigDice-v0"])
def test_games_that_draw_keep_what_depends_on_that(game: str) -> None:
    report = check(ID, game=game, episodes=2, only=("seeds", "instances", "threads", "snapshots", "anchors"))
    assert report.passed, str(report)


def test_a_game_is_told_as_it_goes_on() -> None:
    env = make(opponent=lowest)
    messages, _ = env.reset(seed=3)
    assert messages[0]["role"] == "user"
    assert messages[0]["content"].startswith("[GAME] You are Player 0 in Tic Tac Toe.")
    (told, reward, *_), *_ = [env.step("[4]")]
    assert reward == 0
    assert "[GAME] Player 0 placed their symbol (O) in cell 4." in told[0]["content"]
    assert "[Player 1] [0]" in told[0]["content"]
    assert "You are Player 0" not in told[0]["content"]


def test_winning_losing_and_a_refused_move() -> None:
    env = make(opponent=lowest)
    *_, (_, reward, terminated, _, info) = play(env, 3, "[4]", "[2]", "[6]")
    assert (reward, terminated, info["success"]) == (1.0, True, True)
    *_, (_, reward, terminated, _, info) = play(env, 3, "[4]", "[5]", "[7]")
    assert (reward, terminated, info["success"]) == (-1.0, True, False)
    assert env.verdict.failure.startswith("an outcome of -1; Player 1 has won!")
    told, reward, terminated, _, info = play(env, 3, "[9]")[0]
    assert (reward, terminated, info["reward_terms"]["illegal"]) == (-0.1, False, 1.0)
    assert "Must be between 0 and 8" in told[0]["content"]


def test_replies_without_a_move_lose() -> None:
    env = make()
    first, second, third = play(env, 3, "", " ", "\n")
    assert [round(step[1], 6) for step in (first, second, third)] == [-0.1, -0.1, -1.1]
    assert third[2]
    assert make("Mastermind-v0").players == 1
    assert round(play(make("Mastermind-v0"), 3, "", "", "")[-1][1], 6) == -0.1


def test_any_seat_can_be_taken() -> None:
    assert make(seat=1).reset(seed=3)[0][0]["content"].startswith("[GAME] You are Player 1")
    env = make(seat="random")
    seats = set()
    for seed in range(8):
        env.reset(seed=seed)
        seats.add(env.seat_in_play)
    assert seats == {0, 1}


def test_the_random_opponent_makes_moves_that_the_game_takes() -> None:
    env = make()
    for seed in range(5):
        env.reset(seed=seed)
        ended = False
        while not ended:
            told, _, terminated, truncated, info = env.step(env.possible_move())
            assert "invalid move" not in told[0]["content"]
            ended = terminated or truncated
        assert not info["reward_terms"]["illegal"]


def test_global_generators_stay_as_they_were() -> None:
    random.seed(5)
    before = random.getstate()
    play(make("PigDice-v0"), 3, "[roll]")
    assert random.getstate() == before


def test_a_game_goes_on_from_any_earlier_place() -> None:
    env = make()
    env.reset(seed=3)
    begun = env.snapshot()
    first = env.step("[4]")
    env.restore(begun)
    env.step("[0]")
    env.restore(begun)
    assert env.step("[4]") == first


def test_an_opponent_that_breaks_the_game_is_a_fault() -> None:
    def broken(seen: str) -> Any:
        return 7

    env = make(opponent=broken)
    env.reset(seed=3)
    with pytest.raises(EnvironmentFault, match="TicTacToe-v0: the game broke"):
        env.step("[4]")


def test_turns_are_limited() -> None:
    env = make("GuessTheNumber-v0", max_turns=2)
    *_, (_, _, terminated, truncated, info) = play(env, 3, "[19]", "[20]")
    assert truncated != terminated
    assert truncated or info["success"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"game": "TicTacTo-v0"}, "game: 'TicTacTo-v0' is unknown; the nearest of "),
        ({"game": "TicTacToe-v0-raw"}, "is unknown; the nearest of "),
        ({"game": "Debate-v0"}, "game='Debate-v0' cannot be played here, without a network: "),
        ({"seat": 2}, "seat=2: give an integer from 0 to 1, or 'random': TicTacToe-v0 has 2 players"),
        ({"seat": "first"}, "seat='first': give an integer from 0 to 1"),
        ({"game": "Mastermind-v0", "seat": 1}, "seat=1: Mastermind-v0 has one player, whose seat is 0"),
        ({"opponent": "minimax"}, "opponent='minimax': give 'random', or a function"),
        ({"max_turns": 0}, "max_turns=0: give an integer from 1 to"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_one_line(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        make(**arguments)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
