"""A batch of Pac-Man games: the arguments, checked, and the arrays that the compiled rules work on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Final

import numpy as np

from ludus.envs.arguments import as_choices, as_integer, as_share
from ludus.envs.errors import ArgumentError
from ludus.envs.grid.maze import LARGEST, SMALLEST, draw_mazes
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.layouts import Layout, read_layout
from ludus.envs.rubric import Rubric
from ludus.tools.compiling import compile_once

GHOST_KINDS: Final = ("chaser", "ambusher", "patroller", "shy")

RUBRIC: Final = Rubric({"pellet": 1.0, "power": 5.0, "ghost": 10.0, "caught": -10.0, "cleared": 20.0})
EXPECTED: Final = "every pellet is eaten"
WEIGHTS: Final = np.array([RUBRIC.weights[term] for term in rules.TERMS])


@dataclass(frozen=True)
class Game:
    """The arguments that the forms of Pac-Man share, checked and in the form that the rules take.

    With a layout, `rows` and `columns` become the layout's; `max_steps=None` becomes twice their product
    (about half the cells are wall, so that is time to walk over every other one four times).

    Raises:
        ArgumentError: an argument is out of range; the message says what would be right.
    """

    rows: int = 15
    columns: int = 15
    layout: str | None = None
    ghosts: int | Sequence[str] = 4
    ghost_speed: float = 0.75
    power_pellets: int = 4
    frightened_steps: int = 20
    max_steps: int | None = None
    view: int | None = None
    ghost_kinds: tuple[str, ...] = field(init=False)
    """One of GHOST_KINDS for each ghost."""
    settings: np.ndarray = field(init=False, repr=False)
    drawn: Layout | None = field(init=False, repr=False)
    digest: int = field(init=False, repr=False)
    """Of all that the course of a game depends on beside its start."""

    def __post_init__(self) -> None:
        if self.layout is None:
            drawn = None
            rows = as_integer("rows", self.rows, SMALLEST, LARGEST)
            columns = as_integer("columns", self.columns, SMALLEST, LARGEST)
        else:
            drawn = read_layout(self.layout)
            rows, columns = drawn.ground.shape
        kinds = _ghost_kinds(self.ghosts)
        view = None if self.view is None else as_integer("view", self.view, 1, LARGEST)
        settings = np.zeros(rules.SETTINGS_SIZE, np.int64)
        settings[rules.ROWS], settings[rules.COLUMNS] = rows, columns
        settings[rules.START_CELL] = -1 if drawn is None else drawn.start
        settings[rules.HOME_CELL] = -1 if drawn is None else drawn.home
        settings[rules.GHOST_COUNT] = len(kinds)
        settings[rules.SPEED] = round(as_share("ghost_speed", self.ghost_speed) * 1000)
        settings[rules.POWERS] = as_integer("power_pellets", self.power_pellets, 0, 4)
        settings[rules.FRIGHT_STEPS] = as_integer("frightened_steps", self.frightened_steps, 0, 10**6)
        settings[rules.MAX_STEPS] = (
            2 * rows * columns
            if self.max_steps is None
            else as_integer("max_steps", self.max_steps, 1, 10**9)
        )
        for g, kind in enumerate(kinds):
            settings[rules.KINDS + g] = GHOST_KINDS.index(kind)
        settings.flags.writeable = False
        told = settings.tobytes() + str(view).encode()
        derived = {
            "rows": rows,
            "columns": columns,
            "view": view,
            "max_steps": int(settings[rules.MAX_STEPS]),
            "ghost_kinds": kinds,
            "settings": settings,
            "drawn": drawn,
            "digest": int.from_bytes(blake2b(told, digest_size=8).digest(), "big"),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def view_shape(self) -> tuple[int, int]:
        """The shape of an observation."""
        if self.view is None:
            return self.rows, self.columns
        return 2 * self.view + 1, 2 * self.view + 1


def failure(pellets: int, caught: bool) -> str:
    """Why a game was lost; empty if it was won."""
    if not pellets:
        return ""
    return f"{'caught by a ghost, ' if caught else ''}{pellets} pellet{'s' * (pellets > 1)} left"


def _ghost_kinds(ghosts: int | Sequence[str]) -> tuple[str, ...]:
    if not isinstance(ghosts, str | Sequence):
        return GHOST_KINDS[: as_integer("ghosts", ghosts, 0, rules.MOST_GHOSTS)]
    kinds = as_choices("ghosts", ghosts, GHOST_KINDS) if ghosts else ()
    if len(kinds) > rules.MOST_GHOSTS:
        raise ArgumentError(f"ghosts={ghosts!r}: give at most {rules.MOST_GHOSTS} names")
    return kinds


@cache
def _compile() -> None:
    """Compile what `Games` calls, once in a process, by playing a step of the smallest game."""

    def play() -> None:
        games = Games.__new__(Games)
        games._lay_out(Game(rows=SMALLEST, columns=SMALLEST), 1)
        one = np.ones(1, np.bool_)
        games.begin(one, 0, 1)
        games.advance(np.zeros(1, np.int64), ~one, 0, 1)
        games.look(one, np.zeros((1, SMALLEST, SMALLEST), np.uint8), np.zeros((1, 4), np.int8), 0, 1)

    compile_once("Pac-Man", play)


class Games:
    """N games in the arrays that `rules` describes. Every method works on rows [low, high) only."""

    def __init__(self, game: Game, size: int) -> None:
        _compile()
        self._lay_out(game, size)

    def _lay_out(self, game: Game, size: int) -> None:
        self.game = game
        self.size = size
        self.grids = np.zeros((size, game.rows * game.columns), np.uint8)
        self.states = np.zeros((size, rules.STATE_SIZE), np.int64)
        self.streams = np.zeros(size, np.int64)
        """Each row's stream of episodes: set it before the first `begin`, and the rest follows from it."""
        self.orders = np.full((size, rules.MOST_GHOSTS), rules.STAY)
        """Where ghosts are told to go; nobody does but `versus.py`."""
        self.terms = np.zeros((len(rules.TERMS), size))
        self.rewards = np.zeros(size)
        self.terminated = np.zeros(size, np.bool_)
        self.truncated = np.zeros(size, np.bool_)
        self._digest = np.uint64(game.digest)
        self._hashes = np.zeros(size, np.uint64)

    def begin(self, due: np.ndarray, low: int, high: int) -> None:
        """Start the next episode in the rows where `due`, bool (N,)."""
        game = self.game
        if game.drawn is None:
            draw_mazes(self.grids, self.streams, due, game.rows, game.columns, low, high)
        else:
            self.grids[low:high][due[low:high]] = game.drawn.ground.ravel()
        rules.begin(self.grids, self.states, self.streams, self._hashes, due, game.settings, low, high)

    def advance(self, actions: np.ndarray, resting: np.ndarray, low: int, high: int) -> None:
        """Play one step in the rows that are not `resting`, bool (N,); fills terms, rewards, and the ends."""
        rules.advance(
            self.grids,
            self.states,
            actions,
            self.orders,
            resting,
            self.game.settings,
            WEIGHTS,
            self.terms,
            self.rewards,
            self.terminated,
            self.truncated,
            low,
            high,
        )

    def look(self, due: np.ndarray, seen: np.ndarray, masks: np.ndarray, low: int, high: int) -> None:
        """Write observations, uint8 (N, *view_shape), and action masks, int8 (N, 4), where `due`."""
        radius = self.game.view or 0
        flat = seen.reshape(self.size, -1)
        rules.look(self.grids, self.states, self.game.settings, radius, due, flat, masks, low, high)

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """Content hashes, uint64, of the episodes in `rows`, bool (N,): of start, random word, arguments."""
        return self._hashes[rows] ^ self._digest
