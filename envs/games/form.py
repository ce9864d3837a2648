"""`Game`: a game for several players, written once as pure functions over immutable states.

Everything else follows from it: PettingZoo's forms (`zoo.py`), Gymnasium's (`environment.py`), matches
(`ludus.agents.match`), exact values and exploitability (`values.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

S = TypeVar("S", bound=Hashable)

View = Any
"""What a seat knows, as an immutable value: two states that the seat cannot tell apart give equal views."""

Strategy = Callable[[View, tuple[int, ...]], tuple[float, ...]]
"""From what a seat sees and its legal moves to a probability for each of these. A pure function."""


class Game(ABC, Generic[S]):
    """The rules of a game. Seats are numbered from 0; moves are integers from 0 to `actions - 1`.

    A state is hashable and never changes. It is one of three: some seats are to move (`to_move`; more than
    one where they move at the same time), chance is (`chance`), or the game is over (`outcome`).

    What a seat is shown passes through `view`, which alone decides what is hidden: words (`tell`) and
    numbers (`array`) are made from a view, never from a state.
    """

    name: ClassVar[str]
    """As in the environments' ids: `ludus/NAME-v0`, `ludus/NAMEChat-v0`."""
    seats: ClassVar[int] = 2
    low: ClassVar[float] = -1.0
    """The worst outcome, which is that of a seat that forfeits."""
    high: ClassVar[float] = 1.0
    """The best outcome, which is that of the others then."""
    opponents: ClassVar[tuple[str, ...]]
    """Players of growing strength, by name; the first is the default opponent of an environment."""
    example: ClassVar[int] = 0
    """A move that shows how moves are written."""
    idle: ClassVar[int] = 0
    """The move on which a player insists who does nothing useful."""
    players: ClassVar[Mapping[str, Callable[[Any], Strategy]]]
    """Scripted players by name, each made for a game; beside those that every game has, see `player.py`."""
    is_open: ClassVar[bool] = False
    """Whether every seat may see all that `picture` shows, and learns from it what `tell` says."""
    legend: ClassVar[str] = ""
    """What the colours of `picture` are, for players who see it."""
    clairvoyant: ClassVar[bool] = False
    """Whether `par` is only reached for certain by one who knows what is hidden and what comes."""
    task: ClassVar[str]
    """The rules, as the environments' pages tell them."""
    looks: ClassVar[str]
    """What `array` holds, as the pages tell it."""
    moves: ClassVar[str]
    """What moves there are, in words and numbers, as the pages tell it."""
    target: ClassVar[str]
    """What `par` is, as the pages tell it."""
    settings: ClassVar[tuple[str, ...]] = ()
    """The arguments of the game, each with what it does, as the pages tell them."""

    @property
    @abstractmethod
    def actions(self) -> int:
        """Moves are below this."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of `array`."""

    @property
    @abstractmethod
    def longest(self) -> int:
        """The most moves that a seat makes."""

    @abstractmethod
    def start(self) -> S:
        """The first state."""

    @abstractmethod
    def to_move(self, state: S) -> tuple[int, ...]:
        """The seats that move now; none where chance does and at the end."""

    def chance(self, state: S) -> tuple[tuple[float, S], ...]:
        """What chance may lead to, each with its probability; empty where it does nothing."""
        return ()

    @abstractmethod
    def legal(self, state: S, seat: int) -> tuple[int, ...]:
        """The moves of a seat that is to move, in ascending order; a function of its view."""

    @abstractmethod
    def play(self, state: S, moves: Mapping[int, int]) -> S:
        """What follows when every seat that is to move makes its move, which must be legal."""

    @abstractmethod
    def outcome(self, state: S) -> tuple[float, ...] | None:
        """What each seat gets, between `low` and `high`; None before the end."""

    def view(self, state: S, seat: int) -> View:
        """What the seat knows. By default all: the state, and which seat it is."""
        return state, seat

    @abstractmethod
    def word(self, move: int) -> str:
        """A move as a player writes it: lower case, single spaces, different for different moves."""

    @abstractmethod
    def rules(self, seat: int) -> str:
        """The rules in a few sentences, for the player of a seat."""

    @abstractmethod
    def tell(self, view: View) -> str:
        """A view in words."""

    @abstractmethod
    def array(self, view: View) -> np.ndarray:
        """A view as numbers from 0 to 1, float32 (*shape)."""

    @abstractmethod
    def board(self, state: S) -> str:
        """The state as text for somebody who watches and may see everything."""

    @abstractmethod
    def picture(self, state: S) -> np.ndarray:
        """The same as a picture, uint8 (height, width, 3)."""

    def show(self, view: View) -> np.ndarray:
        """A view as a picture, uint8 (height, width, 3), in a game that `is_open`."""
        return self.picture(view[0])

    @abstractmethod
    def par(self, state: S, seat: int) -> float:
        """The outcome from which on a game that ended in `state` counts as a success of the seat's."""

    @cached_property
    def _moves_by_word(self) -> dict[str, int]:
        return {self.word(move): move for move in range(self.actions)}

    def read(self, text: str) -> int | None:
        """The move that a text names, legal or not; None if there is no such move."""
        return self._moves_by_word.get(" ".join(text.lower().split()))
