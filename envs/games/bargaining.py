"""`ludus/Bargaining-v0` and `ludus/BargainingChat-v0`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_integer
from ludus.envs.games.environment import GameChat, GameEnv
from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.picture import text_picture
from ludus.envs.games.player import certain

_KINDS = (("book", "books"), ("hat", "hats"), ("ball", "balls"))
_POOLS = ((2, 2, 1), (1, 2, 3), (3, 1, 2), (1, 1, 3))
"""How many books, hats and balls there may be."""
_BASE = 4
"""More than there are of any kind."""
WORTH = 10
"""What all of them together are worth to each side."""

Items = tuple[int, ...]
"""How many books, hats and balls."""


@dataclass(frozen=True, slots=True)
class Bargain:
    """What there is, what it is worth to whom, and what both have asked for in each round."""

    pool: Items = ()
    values: tuple[Items, ...] = ()
    """Of one book, hat and ball to each side."""
    demands: tuple[tuple[Items, Items], ...] = ()

    @property
    def is_deal(self) -> bool:
        """Whether both can have what they asked for last."""
        return bool(self.demands) and all(
            sum(wanted) <= there for there, *wanted in zip(self.pool, *self.demands[-1], strict=True)
        )


@dataclass(frozen=True, slots=True)
class BargainView:
    """What a seat knows: its own values, and in each round its own demand first."""

    pool: Items
    values: Items
    demands: tuple[tuple[Items, Items], ...]


def worth(values: Items, items: Items) -> int:
    return sum(value * count for value, count in zip(values, items, strict=True))


def left_by(pool: Items, items: Items) -> Items:
    """What is left when these are taken."""
    return tuple(there - taken for there, taken in zip(pool, items, strict=True))


def demands_for(pool: Items) -> Iterator[Items]:
    """Everything that can be asked for."""
    return product(*(range(there + 1) for there in pool))


def is_pareto(state: Bargain) -> bool:
    """Whether the bargain ended in a deal, and no division of the items is better for one side and no worse
    for the other."""
    if not state.is_deal:
        return False
    first, second = (worth(*pair) for pair in zip(state.values, state.demands[-1], strict=True))
    for share in demands_for(state.pool):
        one, other = worth(state.values[0], share), worth(state.values[1], left_by(state.pool, share))
        if one >= first and other >= second and one + other > first + second:
            return False
    return True


@dataclass(frozen=True)
class Bargaining(Game[Bargain]):
    """Bargaining by sealed demands over books, hats and balls, whose worth to the other side nobody knows."""

    rounds: int = 3

    name: ClassVar[str] = "Bargaining"
    low: ClassVar[float] = 0.0
    actions: ClassVar[int] = _BASE ** len(_KINDS)
    opponents: ClassVar[tuple[str, ...]] = ("fair", "yielding", "oracle")
    example: ClassVar[int] = 1 * _BASE**2 + 2 * _BASE
    idle: ClassVar[int] = _BASE**3 - 1
    task: ClassVar[str] = """
        Some books, hats and balls are to be divided. All of them together are worth 10 to each side, and one
        of each kind at least 1, but each side knows only what they are worth to itself. In each round both
        ask for what they want without knowing the other's demand. If there is enough for both, each gets what
        it asked for, and what nobody asked for is lost; otherwise both see the demands. Without a deal in the
        last round nobody gets anything. The outcome is a tenth of what the own items are worth.

        `fair` always asks for the least that is worth half or more to it; `yielding` begins with what is
        worth eight tenths, and asks for two less in each round; `oracle` asks for everything first and then
        for what the other one's last demand leaves, but until the last round for no less than `fair`. Its
        success is certain against `fair`. `is_pareto` in `ludus.envs.games.bargaining` tells whether a deal
        could have been better for one side at no cost for the other."""
    looks: ClassVar[str] = (
        "how many there are of each kind, in thirds; what one is worth, in tenths; the share of rounds "
        "played; for each round the own demand and the other's, in thirds."
    )
    moves: ClassVar[str] = (
        "How many books, hats and balls, as `1 2 0`: number `16 · books + 4 · hats + balls`."
    )
    target: ClassVar[str] = "a deal that leaves it nothing more to ask for beside the other side's demand"
    settings: ClassVar[tuple[str, ...]] = ("`rounds` (3): how many, 1 to 10.",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rounds", as_integer("rounds", self.rounds, 1, 10))

    @property
    def shape(self) -> tuple[int, ...]:
        return (7 + 6 * self.rounds,)

    @property
    def longest(self) -> int:
        return self.rounds

    def start(self) -> Bargain:
        return Bargain()

    def to_move(self, state: Bargain) -> tuple[int, ...]:
        return () if not state.pool or self._is_over(state) else (0, 1)

    def chance(self, state: Bargain) -> tuple[tuple[float, Bargain], ...]:
        return () if state.pool else _deals()

    def legal(self, state: Bargain, seat: int) -> tuple[int, ...]:
        return tuple(map(number_of, demands_for(state.pool)))

    def play(self, state: Bargain, moves: Mapping[int, int]) -> Bargain:
        return replace(state, demands=(*state.demands, (items_of(moves[0]), items_of(moves[1]))))

    def outcome(self, state: Bargain) -> tuple[float, ...] | None:
        if not state.pool or not self._is_over(state):
            return None
        if not state.is_deal:
            return 0.0, 0.0
        return tuple(worth(*pair) / WORTH for pair in zip(state.values, state.demands[-1], strict=True))

    def _is_over(self, state: Bargain) -> bool:
        return state.is_deal or len(state.demands) == self.rounds

    def view(self, state: Bargain, seat: int) -> BargainView:
        demands = tuple((pair[seat], pair[1 - seat]) for pair in state.demands)
        return BargainView(state.pool, state.values[seat], demands)

    def word(self, move: int) -> str:
        return " ".join(map(str, items_of(move)))

    def rules(self, seat: int) -> str:
        return (
            f"Bargaining, {self.rounds} rounds. Items are divided between you and another player. In each "
            "round both say how many books, hats and balls they want, without knowing the other's demand. If "
            "there is enough for both, each gets that; otherwise the demands are shown and the next round "
            "begins. Without a deal nobody gets anything. Everything together is worth 10 to you and 10 to "
            "the other player, but each item may be worth more to one than to the other. You get a tenth of "
            "what your items are worth to you."
        )

    def tell(self, view: View) -> str:
        there = ", ".join(
            f"{count} {kind[count != 1]}" for count, kind in zip(view.pool, _KINDS, strict=True)
        )
        each = ", ".join(
            f"a {kind[0]} is worth {value}" for value, kind in zip(view.values, _KINDS, strict=True)
        )
        told = [f"There are {there}. To you {each}."]
        for number, (own, other) in enumerate(view.demands, 1):
            told.append(f"{number}. you {' '.join(map(str, own))}, other {' '.join(map(str, other))}")
        if len(view.demands) < self.rounds:
            told.append(f"Round {len(view.demands) + 1} of {self.rounds}.")
        return "\n".join(told)

    def array(self, view: View) -> np.ndarray:
        seen = np.zeros(self.shape, np.float32)
        most = _BASE - 1
        seen[:3] = np.array(view.pool) / most
        seen[3:6] = np.array(view.values) / WORTH
        seen[6] = len(view.demands) / self.rounds
        asked = [count / most for pair in view.demands for items in pair for count in items]
        seen[7 : 7 + len(asked)] = asked
        return seen

    def board(self, state: Bargain) -> str:
        lines = [f"{' '.join(map(str, state.pool))} books, hats, balls"]
        for seat, values in enumerate(state.values):
            asked = ", ".join(" ".join(map(str, pair[seat])) for pair in state.demands)
            lines.append(f"worth {' '.join(map(str, values))}: {asked or 'to begin'}")
        return "\n".join(lines)

    def picture(self, state: Bargain) -> np.ndarray:
        return text_picture(self.board(state), height=96)

    def par(self, state: Bargain, seat: int) -> float:
        if not state.is_deal:
            return 1 / WORTH
        left = left_by(state.pool, state.demands[-1][1 - seat])
        return max(worth(state.values[seat], left), 1) / WORTH

    players: ClassVar[Mapping[str, Callable[[Any], Strategy]]] = {
        "fair": lambda game: lambda view, legal: _asking(least_worth(view, WORTH / 2), legal),
        "yielding": lambda game: _yielding,
        "oracle": lambda game: _oracle(game),
    }


def number_of(items: Items) -> int:
    """The number of a demand."""
    books, hats, balls = items
    return (books * _BASE + hats) * _BASE + balls


def items_of(number: int) -> Items:
    """The demand of a number."""
    return number // _BASE**2, number // _BASE % _BASE, number % _BASE


@cache
def _deals() -> tuple[tuple[float, Bargain], ...]:
    """Every pool, with everything that it may be worth to both."""
    found = []
    for pool in _POOLS:
        options = [v for v in product(range(1, WORTH + 1), repeat=3) if worth(v, pool) == WORTH]
        pairs = list(product(options, repeat=2))
        found += [(1 / len(_POOLS) / len(pairs), Bargain(pool, pair)) for pair in pairs]
    return tuple(found)


def least_worth(view: BargainView, amount: float) -> Items:
    """Of what is worth so much to the seat, what is worth least; of these the first."""
    good = [items for items in demands_for(view.pool) if worth(view.values, items) >= amount]
    return min(good, key=lambda items: worth(view.values, items))


def _asking(items: Items, legal: tuple[int, ...]) -> tuple[float, ...]:
    return certain(number_of(items), legal)


def _yielding(view: BargainView, legal: tuple[int, ...]) -> tuple[float, ...]:
    return _asking(least_worth(view, WORTH * max(0.8 - 0.2 * len(view.demands), 0.1)), legal)


def _oracle(game: Bargaining) -> Strategy:
    def play(view: BargainView, legal: tuple[int, ...]) -> tuple[float, ...]:
        if not view.demands and game.rounds > 1:
            return _asking(view.pool, legal)
        left = left_by(view.pool, view.demands[-1][1]) if view.demands else (0, 0, 0)
        is_last = len(view.demands) == game.rounds - 1
        is_enough = worth(view.values, left) >= (1 if is_last else WORTH / 2)
        return _asking(left if is_enough else least_worth(view, WORTH / 2), legal)

    return play


class BargainingChat(GameChat, game=Bargaining):
    pass


class BargainingEnv(GameEnv, chat=BargainingChat):
    pass
