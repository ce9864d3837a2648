"""A batch of Pac-Man games: the arguments, checked, and the arrays that the compiled rules work on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

import numpy as np

from ludus.envs.grid import pacman_rules as rules
from ludus.envs.grid.layouts import Layout, read_layout
from ludus.envs.grid.maze import LARGEST, SMALLEST, draw_mazes
from ludus.envs.rubric import Rubric

GHOST_KINDS: Final = ("chaser", "ambusher", "patroller", "shy")
DIRECTIONS: Final = ("up", "right", "down", "left")
"""The actions, in order."""

RUBRIC: Final = Rubric({"pellet": 1.0, "power": 5.0, "ghost": 10.0, "caught": -10.0, "cleared": 20.0})
WEIGHTS: Final = np.array([RUBRIC.weights[term] for term in rules.TERMS])


@dataclass(frozen=True)
class Game:
    """The arguments that the forms of Pac-Man share. With a layout, `rows` and `columns` are the layout's.

    Raises:
        ValueError: an argument is out of range; the message says what would be right.
    """

    rows: int
    columns: int
    layout: str | None
    ghosts: int | Sequence[str]
    ghost_speed: float
    power_pellets: int
    frightened_steps: int
    max_steps: int
    ghost_kinds: tuple[str, ...] = field(init=False)
    """One of GHOST_KINDS for each ghost."""
    settings: np.ndarray = field(init=False, repr=False)
    drawn: Layout | None = field(init=False, repr=False)
    digest: int = field(init=False, repr=False)
    """Of all that the course of a game depends on beside its start."""

    def __post_init__(self) -> None:
        drawn = None if self.layout is None else read_layout(self.layout)
        rows, columns = (self.rows, self.columns) if drawn is None else drawn.ground.shape
        for name, value in (("rows", rows), ("columns", columns)):
            low = SMALLEST if drawn is None else 3
            _require_integer(name, value, low, LARGEST)
        kinds = self.ghosts
        if isinstance(kinds, int):
            _require_integer("ghosts", kinds, 0, rules.MOST_GHOSTS)
            kinds = GHOST_KINDS[:kinds]
        if isinstance(kinds, str) or len(kinds) > rules.MOST_GHOSTS or set(kinds) - set(GHOST_KINDS):
            raise ValueError(
                f"ghosts={self.ghosts!r}: give a number from 0 to {rules.MOST_GHOSTS}, "
                f"or up to {rules.MOST_GHOSTS} names out of {', '.join(GHOST_KINDS)}"
            )
        if not 0 <= self.ghost_speed <= 1:
            raise ValueError(
                f"ghost_speed={self.ghost_speed!r}: must lie in [0, 1], in cells per step of Pac-Man's"
            )
        _require_integer("power_pellets", self.power_pellets, 0, 4)
        _require_integer("frightened_steps", self.frightened_steps, 0, 1_000_000)
        _require_integer("max_steps", self.max_steps, 1, 1_000_000_000)
        settings = np.zeros(rules.SETTINGS_SIZE, np.int64)
        settings[rules.ROWS], settings[rules.COLUMNS] = rows, columns
        settings[rules.START_CELL] = -1 if drawn is None else drawn.start
        settings[rules.HOME_CELL] = -1 if drawn is None else drawn.home
        settings[rules.GHOST_COUNT] = len(kinds)
        settings[rules.SPEED] = round(self.ghost_speed * 1000)
        settings[rules.POWERS] = self.power_pellets
        settings[rules.FRIGHT_STEPS] = self.frightened_steps
        settings[rules.MAX_STEPS] = self.max_steps
        for g, kind in enumerate(kinds):
            settings[rules.KINDS + g] = GHOST_KINDS.index(kind)
        settings.flags.writeable = False
        digest = int.from_bytes(blake2b(settings.tobytes(), digest_size=8).digest(), "big")
        for name, value in (
            ("rows", int(rows)),
            ("columns", int(columns)),
            ("ghost_kinds", tuple(kinds)),
            ("settings", settings),
            ("drawn", drawn),
            ("digest", digest),
        ):
            object.__setattr__(self, name, value)


def _require_integer(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name}={value!r}: must be an integer from {low} to {high}")


class Games:
    """N games in the arrays that `pacman_rules` describes. Every method works on rows [low, high) only."""

    def __init__(self, game: Game, size: int) -> None:
        self.game = game
        self.size = size
        self.grids = np.zeros((size, game.rows * game.columns), np.uint8)
        self.states = np.zeros((size, rules.STATE_SIZE), np.int64)
        self.streams = np.zeros(size, np.int64)
        """Each row's stream of episodes: set it before the first `begin`, and the rest follows from it."""
        self._hashes = np.zeros(size, np.uint64)

    def begin(self, due: np.ndarray, low: int, high: int) -> None:
        """Start the next episode in the rows where `due`, bool (N,)."""
        game = self.game
        rules.next_keys(self.streams, due, low, high)
        if game.drawn is None:
            draw_mazes(self.grids, self.streams, due, game.rows, game.columns, low, high)
        else:
            self.grids[low:high][due[low:high]] = game.drawn.ground.ravel()
        rules.begin(
            self.grids, self.states, self.streams, self._hashes, due, game.settings, low, high
        )

    def task(self, row: int) -> str:
        """The content key of the row's episode: of its start, its random word and the game's arguments."""
        return f"pacman-{self.game.rows}x{self.game.columns}-{int(self._hashes[row]) ^ self.game.digest:016x}"
