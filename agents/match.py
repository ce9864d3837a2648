"""Matches: a game between policies, one at each seat, played in words.

result = match("TicTacToe", [GamePlayer("minimax:3"), ChatPolicy(server, sampling)], seed=7)
result.outcome      # (1.0, -1.0)
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import gymnasium

from ludus.agents.engines.base import EngineFault, ServerRefusal
from ludus.agents.episode import Episode, StopReason
from ludus.agents.policy import Action, Policy, RestingPlayer, derive_seed
from ludus.agents.recording import Recorder
from ludus.agents.rollout import Limits, run_blocking
from ludus.agents.worker import Worker
from ludus.envs.arguments import as_seed
from ludus.envs.base import Outcome, refused_tool_calls, task_key
from ludus.envs.chat import Chat, as_reply, reply_text
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.games import words
from ludus.envs.games.catalogue import make_chat
from ludus.envs.games.environment import GameChat, Seated, Submitted
from ludus.envs.games.player import named
from ludus.envs.games.table import Table, outcome, sit_down, waiting
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
    """`played`: to its end by the rules. `forfeit`: by too many illegal or malformed moves, or without room
    for a reply in its context. `time-out`: a seat did not answer in time. `fault`: something broke, and
    nobody has won or lost."""
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
    seats = [
        Seat(chair, policy, derive_seed(seed, n))
        for n, (chair, policy) in enumerate(zip(chairs, policies, strict=True))
    ]
    played = Match(sit_down(chairs[0].game, table_seed), seats, reply_seconds)
    try:
        played.begin()
        while not played.is_over:
            await played.move()
    finally:
        played.close()
    return MatchResult(
        game, seed, played.ending, played.outcome, played.seat, tuple(played.plies), played.fault
    )


@dataclass(frozen=True, slots=True)
class Seat:
    """Who sits where."""

    chair: GameChat
    """Tells the seat what it may know; no other seat has the same instance."""
    policy: Policy
    seed: int
    """The policy's choices follow from it."""
    recorder: Recorder | None = None
    """What makes an episode of what the seat hears and says; None: nothing does."""


class Match:
    """A game in play between policies. `begin` it, `move` until it is over, and `close` it.

    Args:
        table: At which nobody has moved.
        seats: In order.
        reply_seconds: As of `match`.
        limits: Of turns and tokens, for the seats that are recorded; who reaches one forfeits.
    """

    def __init__(
        self,
        table: Table,
        seats: Sequence[Seat],
        reply_seconds: float | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._table, self._rules, self._reply_seconds = table, seats[0].chair.game, reply_seconds
        self._seats, self._limits = seats, limits or Limits()
        self._speakers: list[_Speaker] = []
        self._ending: Ending | None = None
        self.seat: int | None = None
        """Whose forfeit, time-out or fault it was."""
        self.fault = ""
        self.plies: list[Ply] = []

    def begin(self) -> None:
        """
        Raises:
            ArgumentError: the game has no scripted player of the name that a seat gives.
        """
        for number, seat in enumerate(self._seats):
            seat.chair.sit_at(self._table, number)
            self._speakers.append(_Speaker(seat, number, self._limits))

    async def move(self) -> None:
        """Ask those who are to move, at the same time, and make their moves."""
        rules, asked = self._rules, waiting(self._rules, self._table)
        answers = await asyncio.gather(
            *(self._speakers[seat].answer(self._table, self._reply_seconds) for seat in asked)
        )
        failed = [
            (seat, answer)
            for seat, answer in zip(asked, answers, strict=True)
            if isinstance(answer, _Failure)
        ]
        if failed:
            # A fault counts before what another seat did at the same time.
            self._fail(*min(failed, key=lambda one: one[1].ending != "fault"))
            return
        for seat, said in zip(asked, answers, strict=True):
            if self._table.forfeited is not None:
                break
            assert isinstance(said, str)
            submitted = self._speakers[seat].submit(self._table, said)
            legal = submitted.table.errors == self._table.errors
            self._table = submitted.table
            self.plies.append(Ply(seat, said, submitted.move, legal))
        if not waiting(rules, self._table):
            self._end("played" if self._table.forfeited is None else "forfeit", self._table.forfeited)

    @property
    def is_over(self) -> bool:
        return self._ending is not None

    @property
    def ending(self) -> Ending:
        """
        Raises:
            AssertionError: it is not over.
        """
        assert self._ending is not None, "the game is not over"
        return self._ending

    @property
    def outcome(self) -> tuple[float, ...] | None:
        """What each seat gets; None after a fault, and before the end."""
        return None if self._ending in (None, "fault") else outcome(self._rules, self._table)

    def episodes(self) -> list[Episode]:
        """One of each seat that is recorded and has moved, in order; what it heard and said alone. After a
        fault, whoever's it was, all are faults."""
        return [speaker.episode for speaker in self._speakers if speaker.episode is not None]

    def close(self) -> None:
        for speaker in self._speakers:
            speaker.player.close()

    def _fail(self, seat: int, failure: "_Failure") -> None:
        if failure.ending != "fault":
            # Lost as by too many errors.
            self._table = replace(self._table, forfeited=seat)
        self._end(failure.ending, seat, failure.what)

    def _end(self, ending: Ending, seat: int | None, what: str = "") -> None:
        self._ending, self.seat, self.fault = ending, seat, what if ending == "fault" else ""
        for speaker in self._speakers:
            if ending == "fault":
                speaker.break_off(what)
            else:
                speaker.end(self._table, what if speaker.number == seat else "")


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
    """A seat's conversation with its policy.

    A turn is recorded once its reward is known: when the seat has moved again, or at the end.
    """

    def __init__(self, seat: Seat, number: int, limits: Limits) -> None:
        self.number = number
        self.player = seat.policy.player(seat.chair, seat.seed)
        self.episode: Episode | None = None
        self._chair, self._record, self._limits = seat.chair, seat.recorder, limits
        self._turn: _Turn | None = None
        """The last one."""
        self._submitted: Submitted | None = None
        """What became of its reply."""
        self._turns = self._context = 0
        self._rest()

    async def answer(self, table: Table, seconds: float | None) -> str | _Failure:
        """The text of the reply to what the seat sees now."""
        self._chair.sit_at(table, self.number)
        told = self._told(table) if self._turn is not None else None
        heard = self._first(table) if told is None else self._heard(told)
        if self._record is not None and (limit := self._limit()):
            return _Failure("forfeit", limit)
        began = time.perf_counter()
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
            return _Failure("time-out", "no reply in time")
        except (EngineFault, ServerRefusal, EnvironmentFault) as fault:
            return _Failure("fault", first_line(fault))
        self._rest()
        if action.is_empty:
            return _Failure("forfeit", "no room for a reply")
        elapsed = time.perf_counter() - began
        if told is not None:
            self._close_turn(told.terms, self._anchor(table))
        read = (0 if action.fork else self._context) + len(action.prompt_ids)
        self._context, self._turns = read + len(action.completion_ids), self._turns + 1
        reply = as_reply(action.reply)
        seconds_taken = elapsed if action.model_seconds is None else action.model_seconds
        self._turn = _Turn(heard, action, read, seconds_taken, refused_tool_calls(reply))
        self._submitted = None
        return reply_text(reply)

    def submit(self, table: Table, said: str) -> Submitted:
        """What becomes of the table by what the seat said."""
        self._submitted = self._chair.submit(Seated(table, self.number), said)
        return self._submitted

    def end(self, table: Table, failure: str) -> None:
        """The game is over.

        Args:
            failure: Why the seat lost, where the rules do not say it.
        """
        if self._record is None:
            return
        if self._turn is None:
            if failure:
                self.episode = self._record.end(StopReason.TOKEN_LIMIT)
            return
        told = self._told(table)
        self._close_turn(told.terms)
        self._record.observation = self._heard(told)
        if not told.success:
            self._record.expected = self._chair.expected(told.state)
            self._record.failure = failure or told.failure
        self.episode = self._record.end(StopReason.TERMINATED, told.success)

    def break_off(self, fault: str) -> None:
        """Something broke, here or at another seat."""
        if self._record is not None:
            self._close_turn({} if self._submitted is None else self._submitted.terms)
            self.episode = self._record.end(StopReason.ENGINE_FAULT, fault=fault)

    def _told(self, table: Table) -> Outcome:
        """What the seat is told of its last reply, which may not have been heard any more where another seat
        had lost by then."""
        return self._chair.tell(Seated(table, self.number), self._submitted or Submitted(table, None, {}, ""))

    def _heard(self, told: Outcome) -> Chat:
        """The same, after the answers to calls of tools that there are not."""
        return [*(self._turn.refused if self._turn is not None else []), *told.messages]

    def _first(self, table: Table) -> Chat:
        begun = self._chair.begin(Seated(table, self.number))
        if self._record is not None:
            self._record.task, self._record.task_name = str(task_key(begun.task)), begun.task
            self._record.form_terms = self._chair.rubric.form
            self._record.anchor = self._anchor(table)
        return begun.messages

    def _close_turn(self, earned: Mapping[str, float], next_anchor: str = "") -> None:
        """Record the last turn with what it earned until now.

        Args:
            earned: Terms of the rubric.
            next_anchor: The key of the state in which the seat acts next; empty: it does not.
        """
        if self._record is None or self._turn is None:
            return
        terms = {**dict.fromkeys(self._chair.rubric.weights, 0.0), **earned}
        info = {"reward_terms": terms, "anchor": next_anchor}
        self._record.observation, turn = self._turn.heard, self._turn
        self._record.add(turn.action, turn.read, self._chair.rubric(terms), info, turn.seconds, 0.0)

    def _anchor(self, table: Table) -> str:
        if self._record is None:
            return ""
        return str(int(self._record.task) ^ self._chair.anchor(Seated(table, self.number)))

    def _limit(self) -> str:
        """The limit that the seat has reached, in words; empty: none."""
        limits = self._limits
        if limits.turns is not None and self._turns >= limits.turns:
            return f"no end within {limits.turns} replies"
        if limits.tokens is not None and self._context >= limits.tokens:
            return f"no end within {limits.tokens} tokens"
        return ""

    def _rest(self) -> None:
        """Others move now."""
        if isinstance(self.player, RestingPlayer):
            self.player.rest()


@dataclass(frozen=True, slots=True)
class _Turn:
    """A reply whose reward is not known yet."""

    heard: Chat
    action: Action
    read: int
    """Tokens before the action's own."""
    seconds: float
    refused: Chat
    """The answers to its tool calls, of which games have none."""
