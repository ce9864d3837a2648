"""The progress of an arena: a live table in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from ludus.agents.arena.folder import Game, Settings
from ludus.agents.arena.run import Listener
from ludus.agents.arena.schedule import Fixture
from ludus.agents.arena.standings import standings
from ludus.cli.arena.table import standings_table, title
from ludus.tools.wording import counted, duration

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines."""
_RESAMPLES = 100
"""Of the intervals while games are being played."""
_REDRAWN_SECONDS = 1.0


class ArenaProgress(Listener):
    """What has been played so far."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.games: dict[Fixture, Game] = {}
        self.total = self.fresh = 0
        self.begun_at = time.monotonic()

    def begun(self, settings: Settings, games: Mapping[Fixture, Game], total: int) -> None:
        self.games, self.total, self.begun_at = dict(games), total, time.monotonic()

    def played(self, game: Game) -> None:
        self.games[game.fixture] = game
        self.fresh += 1

    def pace(self) -> str:
        """`12 of 60 games, 3.1 games/s, about 15 s left`."""
        done = f"{len(self.games)} of {counted(self.total, 'game')}"
        seconds = time.monotonic() - self.begun_at
        if not self.fresh or seconds <= 0:
            return done
        left = duration((self.total - len(self.games)) * seconds / self.fresh)
        return f"{done}, {self.fresh / seconds:,.1f} games/s, about {left} left"


class PlainArena(ArenaProgress):
    """A line when playing begins and one every `PLAIN_SECONDS`."""

    def __init__(self, settings: Settings, console: Console) -> None:
        super().__init__(settings)
        self._console, self._printed = console, time.monotonic()

    def begun(self, settings: Settings, games: Mapping[Fixture, Game], total: int) -> None:
        super().begun(settings, games, total)
        already = f", {len(games)} already played" if games else ""
        self._line(f"{settings.game}: {counted(total, 'game')} of {', '.join(settings.players)}{already} ...")

    def played(self, game: Game) -> None:
        super().played(game)
        if time.monotonic() - self._printed >= PLAIN_SECONDS:
            self._printed = time.monotonic()
            self._line(self.pace())

    def note(self, text: str) -> None:
        self._line(f"note: {text}")

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveArena(ArenaProgress):
    """Redraws the standings, once a second."""

    def __init__(self, settings: Settings, console: Console) -> None:
        super().__init__(settings)
        self._drawn_at = -_REDRAWN_SECONDS
        self.live = Live(console=console, refresh_per_second=2, transient=True)

    def begun(self, settings: Settings, games: Mapping[Fixture, Game], total: int) -> None:
        super().begun(settings, games, total)
        self.draw()

    def played(self, game: Game) -> None:
        super().played(game)
        if time.monotonic() - self._drawn_at >= _REDRAWN_SECONDS:
            self.draw()

    def note(self, text: str) -> None:
        self.live.console.print(f"note: {text}", markup=False, highlight=False, style="yellow")

    def draw(self) -> None:
        """Show the standings as they are."""
        found = standings(self.settings, self.games, _RESAMPLES)
        self.live.update(
            Group(
                Text.assemble((title(found), "bold"), f" · {self.pace()}"),
                ProgressBar(total=max(self.total, 1), completed=len(self.games)),
                standings_table(found),
            )
        )
        self._drawn_at = time.monotonic()


@contextmanager
def watch(settings: Settings) -> Iterator[Listener]:
    """A listener that draws on stderr if that is a terminal, or prints plain lines there."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainArena(settings, console)
        return
    listener = LiveArena(settings, console)
    with listener.live:
        yield listener
