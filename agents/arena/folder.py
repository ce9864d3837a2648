"""An arena's folder: what was asked for, and every game that was played.

arena.json          the settings: the identity of the arena
games.jsonl         every game, appended as it ends; a journal (`ludus.agents.journal`)
results.json        the standings
report.html
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ludus.agents.arena.schedule import Fixture
from ludus.agents.journal import line_of, read_fields
from ludus.agents.match import Ending, Ply
from ludus.tools.errors import UserError

SETTINGS, GAMES, RESULTS, REPORT = "arena.json", "games.jsonl", "results.json", "report.html"


class ArenaError(UserError):
    """An arena cannot be played, or its folder cannot be used."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The identity of an arena. All of it must match to continue in its folder."""

    game: str
    players: Mapping[str, str]
    """What each of them is, by name: `scripted:NAME`, or a model in a form that is safe to record."""
    games: int
    """Of each two players that meet."""
    schedule: str
    """`round-robin` or `swiss`."""
    seed: int
    error_limit: int
    reply_seconds: float | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of the game."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """How models answer; empty if there are none."""
    ludus: str = ""
    """Version of Ludus."""


@dataclass(frozen=True, slots=True)
class Game:
    """A game that was played."""

    fixture: Fixture
    seed: int
    ending: Ending
    outcome: tuple[float, ...] | None
    """What each seat got; None after a fault."""
    seat: int | None
    """Whose forfeit, time-out or fault it was."""
    plies: tuple[Ply, ...]
    fault: str = ""
    seconds: float = 0.0

    @property
    def culprit(self) -> str | None:
        """The player at `seat`."""
        return None if self.seat is None else (self.fixture.first, self.fixture.second)[self.seat]


def encode(game: Game) -> bytes:
    """A journal line."""
    return line_of(asdict(game))


def read_games(folder: Path) -> dict[Fixture, Game]:
    """The games in a folder; of one that was played again after a fault, the last."""
    return {game.fixture: game for game in map(_game, read_fields(folder / GAMES))}


def _game(record: Mapping[str, Any]) -> Game:
    given = dict(record)
    given["fixture"] = Fixture(**record["fixture"])
    given["plies"] = tuple(Ply(**ply) for ply in record["plies"])
    given["outcome"] = None if record["outcome"] is None else tuple(record["outcome"])
    return Game(**given)
