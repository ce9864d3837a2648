"""Matches between policies: what is played, and what is told apart."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import pytest

from ludus.agents.engines.base import EngineFault
from ludus.agents.match import GamePlayer, MatchResult, match, match_async
from ludus.agents.policy import Action, ScriptedPolicy, derive_seed
from ludus.envs.errors import ArgumentError
from ludus.envs.games.catalogue import make_game
from ludus.envs.games.environment import GameChat
from ludus.envs.games.table import sit_down, submit, waiting


@dataclass
class Says:
    """A policy that says what a function makes of the messages, and keeps these."""

    speak: Callable[[Any], Any]
    heard: list[Any] = field(default_factory=list)
    closed: int = 0

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "Says":
        return self

    async def act(self, observation: Any, info: dict[str, Any]) -> Action:
        self.heard.append(observation)
        await asyncio.sleep(0)
        return Action(reply=self.speak(observation))

    def close(self) -> None:
        self.closed += 1


def first_move(observation: Any) -> str:
    moves = observation[-1]["content"].splitlines()[-1].removeprefix("Moves: ").split(", ")
    return f"<action>{moves[0]}</action>"


def replayed(result: MatchResult) -> tuple[float, ...] | None:
    """The outcome of the same plies at a new table."""
    game = make_game(result.game)
    table = sit_down(game, derive_seed(result.seed))
    for ply in result.plies:
        assert ply.seat in waiting(game, table)
        table = submit(game, table, ply.seat, ply.move, 3)
    outcome: tuple[float, ...] | None = game.outcome(table.state)
    return outcome


@pytest.mark.parametrize("game", ["TicTacToe", "KuhnPoker", "Nim", "PrisonersDilemma", "Bargaining"])
def test_a_match_is_played_to_its_end_and_can_be_replayed(game: str) -> None:
    policies = [GamePlayer("random"), Says(first_move)]
    result = match(game, policies, seed=5)
    assert result.ending == "played"
    assert result.outcome == replayed(result)
    assert (result.illegal, result.malformed, result.seat, result.fault) == ({}, {}, None, "")
    assert match(game, [GamePlayer("random"), Says(first_move)], seed=5) == result
    assert policies[1].closed == 1  # type: ignore[union-attr]


def test_a_match_follows_from_its_seed() -> None:
    players = [GamePlayer("random"), GamePlayer("random")]
    assert len({match("TicTacToe", players, seed).plies for seed in range(5)}) > 1


def test_with_seats_swapped_chance_deals_the_same() -> None:
    dealt = []
    for order in (1, -1):
        listeners = [Says(first_move), Says(first_move)]
        match("KuhnPoker", listeners[::order], seed=3)
        dealt.append([listener.heard[0][1]["content"].split(".")[0] for listener in listeners[::order]])
    assert dealt[0] == dealt[1]


def test_the_stronger_player_wins() -> None:
    results = [match("TicTacToe", [GamePlayer("oracle"), GamePlayer("random")], seed) for seed in range(20)]
    earned = [result.outcome[0] for result in results if result.outcome]
    assert min(earned) >= 0
    assert sum(earned) >= 15


def test_a_conversation_begins_with_the_rules_and_tells_what_was_wrong() -> None:
    replies = iter(["hm", "<action>b2</action>", "<action>b2</action>", "<action>a1</action>"])
    listener = Says(lambda heard: next(replies, "<action>no</action>"))
    result = match("TicTacToe", [listener, Says(first_move)], seed=0)
    assert [message["role"] for message in listener.heard[0]] == ["system", "user"]
    assert [[message["role"] for message in heard] for heard in listener.heard[1:]] == [["user"]] * 4
    assert listener.heard[1][0]["content"].startswith("No <action> found.")
    assert listener.heard[3][0]["content"].startswith("Illegal here: b2.")
    assert "X" in listener.heard[2][0]["content"]
    assert (result.ending, result.seat, result.outcome) == ("forfeit", 0, (-1.0, 1.0))
    assert (result.illegal, result.malformed) == ({0: 1}, {0: 2})


def test_those_who_move_at_the_same_time_see_the_same_table() -> None:
    listeners = [Says(first_move), Says(lambda heard: "<action>defect</action>")]
    match("PrisonersDilemma", listeners, seed=0, rounds=3)
    for number, (one, other) in enumerate(zip(listeners[0].heard, listeners[1].heard, strict=True)):
        assert f"Round {number + 1} of 3." in one[-1]["content"]
        assert f"Round {number + 1} of 3." in other[-1]["content"]


def test_one_of_two_whose_move_was_illegal_is_asked_again_alone() -> None:
    replies = iter(["hm", *["<action>defect</action>"] * 2])
    listeners = [Says(lambda heard: next(replies)), Says(first_move)]
    result = match("PrisonersDilemma", listeners, seed=0, rounds=2)
    assert [ply.seat for ply in result.plies] == [0, 1, 0, 0, 1]
    assert result.outcome == (5.0, 0.0)


def test_a_fault_is_nobodys_loss() -> None:
    def broken(heard: Any) -> str:
        raise EngineFault("the server is gone")

    other = Says(first_move)
    result = match("TicTacToe", [other, Says(broken)], seed=0)
    assert (result.ending, result.seat, result.outcome) == ("fault", 1, None)
    assert result.fault == "the server is gone"
    assert other.closed == 1


def test_a_time_out_is_a_loss_and_no_fault() -> None:
    @dataclass
    class Slow(Says):
        async def act(self, observation: Any, info: dict[str, Any]) -> Action:
            await asyncio.sleep(60)
            raise AssertionError

    result = match("TicTacToe", [Says(first_move), Slow(first_move)], seed=0, reply_seconds=0.05)
    assert (result.ending, result.seat, result.outcome) == ("time-out", 1, (1.0, -1.0))
    assert not result.fault


def test_a_mistake_in_a_policy_is_no_fault() -> None:
    def wrong(heard: Any) -> str:
        raise KeyError("x")

    with pytest.raises(KeyError):
        match("TicTacToe", [Says(wrong), Says(first_move)], seed=0)


def test_calls_of_tools_that_there_are_not_are_answered() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    replies = iter([{"role": "assistant", "content": None, "tool_calls": [call]}])
    listener = Says(lambda heard: next(replies, first_move(heard)))
    result = match("TicTacToe", [listener, Says(first_move)], seed=0)
    assert [message["role"] for message in listener.heard[1]] == ["tool", "user"]
    assert listener.heard[1][0]["tool_call_id"] == "c1"
    assert result.malformed == {0: 1}


def test_an_environments_scripted_agents_play_matches() -> None:
    result = match("Nim", [ScriptedPolicy("oracle"), ScriptedPolicy("random")], seed=2)
    assert result.outcome == (1.0, -1.0)
    assert match("Nim", [ScriptedPolicy("oracle"), ScriptedPolicy("null")], seed=2).ending == "forfeit"


def test_a_match_inside_an_event_loop() -> None:
    async def both() -> list[MatchResult]:
        players = [GamePlayer("random"), GamePlayer("oracle")]
        return await asyncio.gather(*(match_async("TicTacToe", players, seed) for seed in (1, 2)))

    assert [result.seed for result in asyncio.run(both())] == [1, 2]


@pytest.mark.parametrize(
    ("game", "names", "message"),
    [
        ("Tictactoe", ("random", "random"), "did you mean TicTacToe"),
        ("TicTacToe", ("random",), "1 policies for a game of TicTacToe"),
        ("TicTacToe", ("random", "orcale"), "player: 'orcale' is unknown; did you mean oracle"),
    ],
)
def test_a_wrong_call_is_refused(game: str, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        match(game, [GamePlayer(name) for name in names], seed=0)


def test_scripted_players_who_think_long_cost_nobody_else_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advice = GameChat.advice

    def slowly(chair: GameChat, player: Any) -> int:
        time.sleep(0.2)
        return advice(chair, player)

    async def think(observation: Any, info: dict[str, Any]) -> Action:
        await asyncio.sleep(0.02)
        return Action(reply=first_move(observation))

    async def both() -> list[MatchResult]:
        policies = [Says(first_move) for _ in range(2)]
        for policy in policies:
            policy.act = think  # type: ignore[method-assign]
        return await asyncio.gather(
            *(
                match_async("TicTacToe", [GamePlayer("minimax:1"), policy], seed, reply_seconds=0.15)
                for seed, policy in enumerate(policies)
            )
        )

    monkeypatch.setattr(GameChat, "advice", slowly)
    assert [result.ending for result in asyncio.run(both())] == ["played", "played"]
