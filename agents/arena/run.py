"""An arena from beginning to end: games are played, several at once, and kept as they end."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ludus.agents.arena.folder import GAMES, SETTINGS, ArenaError, Game, Settings, encode, read_games
from ludus.agents.arena.schedule import Fixture, meeting, round_robin, swiss_round, swiss_rounds
from ludus.agents.arena.standings import seed_pairs
from ludus.agents.identity import begin, has_begun
from ludus.agents.journal import Journal
from ludus.agents.match import match_async
from ludus.agents.policy import Policy
from ludus.agents.rollout import run_blocking, run_together
from ludus.envs.games.catalogue import make_game
from ludus.tools.errors import UserError

FEWEST_FAULTS = 8
"""So many faults in a row, or as many as games are played at once, end the arena."""


class Listener:
    """What an arena reports to whoever watches; every method may be overridden."""

    def begun(self, settings: Settings, games: Mapping[Fixture, Game], total: int) -> None:
        """Playing begins, with the games that the folder has already; so many there will be in all."""

    def played(self, game: Game) -> None:
        """A game has ended and is kept."""

    def note(self, text: str) -> None:
        """Something to know."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """Who plays."""

    name: str
    policy: Callable[[], Policy]
    """Makes the policy; called once, before the first game."""


def arena(
    settings: Settings,
    contestants: Sequence[Contestant],
    folder: Path,
    concurrency: int = 64,
    listener: Listener | None = None,
) -> dict[Fixture, Game]:
    """Play all games of an arena that its folder does not have yet, and return all.

    Games that ended in a fault are played again, others never.

    Args:
        settings: what to play.
        contestants: one for each of `settings.players`.
        folder: where games are kept; made, or continued.
        concurrency: games at once.
        listener: is told how it goes.

    Raises:
        ArenaError: the settings cannot be played, or the folder is another arena's.
        UserError: a model cannot be used, or no longer answers. Games that have ended are kept.
    """
    listener = listener or Listener()
    _require_playable(settings)
    policies = _Policies(contestants)
    if not has_begun(folder / SETTINGS, settings, "arena", ArenaError):
        policies.make()  # before anything is written
        begin(folder / SETTINGS, settings)
    with Journal(folder / GAMES, "games") as journal:
        if damage := journal.mend():
            listener.note(damage)
        games, total = read_games(folder), total_games(settings)
        if sum(game.ending != "fault" for game in games.values()) < total:
            policies.make()
        listener.begun(settings, games, total)
        run_blocking(_Play(settings, policies, games, journal, concurrency, listener).all_rounds())
    return games


def total_games(settings: Settings) -> int:
    """How many games an arena has."""
    players = len(settings.players)
    meetings = players * (players - 1) // 2
    if settings.schedule == "swiss":
        meetings = swiss_rounds(players) * (players // 2)
    return meetings * settings.games


def _require_playable(settings: Settings) -> None:
    """
    Raises:
        ArenaError: too few players, games that are no pairs, a game that is not for two.
        ArgumentError: there is no such game, or an argument of it is wrong.
    """
    seats = make_game(settings.game, **settings.arguments).seats
    if seats != 2:
        raise ArenaError(f"{settings.game} has {seats} seats: an arena is for games of two")
    if len(settings.players) < 2:
        raise ArenaError("an arena needs at least two players: name one more, such as random")
    if settings.games < 2 or settings.games % 2:
        raise ArenaError(
            f"{settings.games} games of each two players: give an even number, 2 or more, since games are "
            "played in pairs with the seats swapped"
        )


class _Policies:
    """The policies by name, made when they are needed first: a finished arena loads no model."""

    def __init__(self, contestants: Sequence[Contestant]) -> None:
        self._contestants = contestants
        self._made: dict[str, Policy] = {}

    def make(self) -> dict[str, Policy]:
        if not self._made:
            self._made = {each.name: each.policy() for each in self._contestants}
        return self._made


@dataclass
class _Play:
    """Games being played."""

    settings: Settings
    policies: _Policies
    games: dict[Fixture, Game]
    journal: Journal
    concurrency: int
    listener: Listener
    streak: int = 0
    """How many of the last games were faults."""
    failed: frozenset[Fixture] = frozenset()
    """Games that ended in a fault when this began: they are played once more."""

    async def all_rounds(self) -> None:
        self.failed = frozenset(fixture for fixture, game in self.games.items() if game.ending == "fault")
        pairs = self.settings.games // 2
        names = self.settings.players.keys()
        if self.settings.schedule == "round-robin":
            await self._play(round_robin(names, pairs))
            return
        met: set[frozenset[str]] = set()
        scores = dict.fromkeys(sorted(names), 0.0)
        for _ in range(swiss_rounds(len(names))):
            drawn, resting = swiss_round(scores, met)
            await self._play([fixture for two in drawn for fixture in meeting(*two, pairs)])
            met |= {frozenset(two) for two in drawn}
            for pair in seed_pairs(self.settings, self.games.values()):
                if pair.players in {tuple(sorted(two)) for two in drawn}:
                    for name, points in zip(pair.players, (pair.points, 2 - pair.points), strict=True):
                        scores[name] += points
            if resting is not None:
                met.add(frozenset({resting}))
                scores[resting] += self.settings.games

    async def _play(self, fixtures: Sequence[Fixture]) -> None:
        missing = [fixture for fixture in fixtures if fixture not in self.games or fixture in self.failed]
        waiting = iter(missing)

        async def play_on() -> None:
            for fixture in waiting:
                self._keep(await self._game(fixture))

        await run_together(play_on() for _ in range(min(self.concurrency, len(missing))))

    async def _game(self, fixture: Fixture) -> Game:
        settings, policies, began = self.settings, self.policies.make(), time.perf_counter()
        result = await match_async(
            settings.game,
            [policies[fixture.first], policies[fixture.second]],
            fixture.seed(settings.seed),
            error_limit=settings.error_limit,
            reply_seconds=settings.reply_seconds,
            **settings.arguments,
        )
        return Game(
            fixture,
            result.seed,
            result.ending,
            result.outcome,
            result.seat,
            result.plies,
            result.fault,
            time.perf_counter() - began,
        )

    def _keep(self, game: Game) -> None:
        self.journal.append(encode(game))
        self.games[game.fixture] = game
        self.listener.played(game)
        self.streak = self.streak + 1 if game.ending == "fault" else 0
        if self.streak >= max(FEWEST_FAULTS, self.concurrency):
            raise UserError(
                f"{game.culprit} no longer answers; the last of {self.streak} faults: {game.fault}"
            )
