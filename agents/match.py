"""Matches: a game between policies, one at each seat, played in words.

result = match("TicTacToe", [GamePlayer("minimax:3"), ChatPolicy(server, sampling)], seed=7)
result.outcome      # (1.0, -1.0)
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import gymnasium

from ludus.agents.engines.base import EngineFault, ServerRefusal
from ludus.agents.policy import Action, Player, Policy, derive_seed
from ludus.agents.rollout import run_blocking
from ludus.agents.worker import Worker
from ludus.envs.arguments import as_seed
from ludus.envs.base import refused_tool_calls
from ludus.envs.chat import Chat, as_reply, reply_text
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.games import words
from ludus.envs.games.catalogue import make_chat
from ludus.envs.games.environment import GameChat
from ludus.envs.games.player import named
from ludus.envs.games.table import Table, outcome, sit_down, submit, waiting
from ludus.tools.wording import first_line

Ending = Literal["played", "forfeit", "time-out", "fault"]


@dataclass(frozen=True, slots=True)
class Ply:
    """What a seat said, and what was made of it."""

    seat: int
    said: str
    move: int | None
    """None: no move could be read."""
    legal: bool


@dataclass(frozen=True, slots=True)
class MatchResult:
    """How a game between policies went."""

    game: str
    seed: int
    ending: Ending
    """`played`: to its end by the rules. `forfeit`: by too many illegal or malformed moves. `time-out`: a
    seat did not answer in time. `fault`: something broke, and nobody has won or lost."""
    outcome: tuple[float, ...] | None
    """What each seat gets; None after a fault."""
    seat: int | None
    """Whose forfeit, time-out or fault it was."""
    plies: tuple[Ply, ...]
    """All that was said, in order; with the seed, enough to play the game again."""
    fault: str = ""
    """What broke."""

    @property
    def illegal(self) -> dict[int, int]:
        """Moves that the rules forbid, by seat; none where there were none."""
        return self._count([ply for ply in self.plies if ply.move is not None and not ply.legal])

    @property
    def malformed(self) -> dict[int, int]:
        """Replies in which no move could be read, by seat."""
        return self._count([ply for ply in self.plies if ply.move is None])

    def _count(self, plies: Sequence[Ply]) -> dict[int, int]:
        seats = [ply.seat for ply in plies]
        return {seat: seats.count(seat) for seat in sorted(set(seats))}


def match(
    game: str,
    policies: Sequence[Policy],
    seed: int,
    *,
    error_limit: int = 3,
    reply_seconds: float | None = None,
    **arguments: Any,
) -> MatchResult:
    """Play one game.

    Args:
        game: its name, one of `ludus.envs.games.GAMES`.
        policies: one for each seat, in order; those of seats that move at the same time are asked at once.
        seed: what chance and the policies draw follows from it. With seats swapped, chance draws the same.
        error_limit: with so many illegal or malformed moves a seat loses.
        reply_seconds: time for one reply; who takes longer loses, but for scripted players, who are not
            timed. None: no limit. A match that uses it cannot be repeated exactly.
        arguments: of the game.

    Raises:
        ArgumentError: there is no such game, an argument is wrong, or policies are too few or too many.
    """
    return run_blocking(
        match_async(game, policies, seed, error_limit=error_limit, reply_seconds=reply_seconds, **arguments)
    )


async def match_async(
    game: str,
    policies: Sequence[Policy],
    seed: int,
    *,
    error_limit: int = 3,
    reply_seconds: float | None = None,
    **arguments: Any,
) -> MatchResult:
    """`match`, inside an event loop."""
    chairs = [make_chat(game, error_limit=error_limit, **arguments) for _ in policies]
    table_seed = derive_seed(as_seed(seed))
    if not chairs or len(chairs) != chairs[0].game.seats:
        raise ArgumentError(f"{len(chairs)} policies for a game of {game}: give one for each seat")
    rules = chairs[0].game
    table = sit_down(rules, table_seed)
    speakers: list[_Speaker] = []
    plies: list[Ply] = []

    def result(ending: Ending, seat: int | None = None, fault: str = "") -> MatchResult:
        earned = outcome(rules, table)
        if ending == "time-out":
            earned = tuple(rules.low if each == seat else rules.high for each in range(rules.seats))
        return MatchResult(game, seed, ending, earned, seat, tuple(plies), fault)

    try:
        for seat, (policy, chair) in enumerate(zip(policies, chairs, strict=True)):
            chair.sit_at(table, seat)
            speakers.append(_Speaker(policy.player(chair, derive_seed(seed, seat)), chair, seat))
        while asked := waiting(rules, table):
            answers = await asyncio.gather(*(speakers[seat].answer(table, reply_seconds) for seat in asked))
            for seat, answer in zip(asked, answers, strict=True):
                if isinstance(answer, _Failure):
                    return result(answer.ending, seat, answer.what)
            for seat, said in zip(asked, answers, strict=True):
                if table.forfeited is not None:
                    break
                assert isinstance(said, str)
                move, complaint = words.read_move(rules, said)
                before, table = table, submit(rules, table, seat, move, error_limit)
                legal = table.errors == before.errors
                plies.append(Ply(seat, said, move, legal))
                if not legal:
                    speakers[seat].complaint = complaint if move is None else words.illegal(rules, move)
        return result("played" if table.forfeited is None else "forfeit", table.forfeited)
    finally:
        for speaker in speakers:
            speaker.player.close()


@dataclass(frozen=True)
class GamePlayer:
    """A policy that plays a match as one of the game's scripted players."""

    name: str
    """As an environment's `opponent`: `random`, `oracle`, `minimax:3`, …"""

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> "_ScriptedSeat":
        """
        Raises:
            ArgumentError: the game has no such player.
        """
        chair = env.unwrapped
        assert isinstance(chair, GameChat)
        named(chair.game, self.name, "player")
        return _ScriptedSeat(self.name, chair)


@dataclass(frozen=True)
class _ScriptedSeat:
    name: str
    chair: GameChat

    async def act(self, observation: Any, info: dict[str, Any]) -> Action:
        return self.think()

    def think(self) -> Action:
        return Action(reply=words.reply(self.chair.game, self.chair.advice(self.name)))

    def close(self) -> None:
        pass


@cache
def _thinking() -> Worker:
    """The thread in which scripted players think while others are timed."""
    return Worker("scripted players")


@dataclass(frozen=True, slots=True)
class _Failure:
    ending: Ending
    what: str = ""


class _Speaker:
    """A seat's conversation with its policy."""

    def __init__(self, player: Player, chair: GameChat, seat: int) -> None:
        self.player = player
        self.complaint = ""
        """What was wrong with the last reply."""
        self._chair, self._seat = chair, seat
        self._unsaid: Chat = [words.opening(chair.game, seat)]

    async def answer(self, table: Table, seconds: float | None) -> str | _Failure:
        """The text of the reply to what the seat sees now."""
        self._chair.sit_at(table, self._seat)
        heard = [*self._unsaid, words.scene(self._chair.game, table, self._seat, self.complaint)]
        self.complaint = ""
        try:
            if isinstance(self.player, _ScriptedSeat) and seconds is not None:
                # It is not timed, and must not keep the event loop from hearing those who are.
                action = await _thinking().call(self.player.think)
            else:
                async with asyncio.timeout(seconds) as clock:
                    action = await self.player.act(heard, {})
        except TimeoutError:
            if not clock.expired():
                raise
            return _Failure("time-out")
        except (EngineFault, ServerRefusal, EnvironmentFault) as fault:
            return _Failure("fault", first_line(fault))
        reply = as_reply(action.reply)
        self._unsaid = refused_tool_calls(reply)
        return reply_text(reply)
