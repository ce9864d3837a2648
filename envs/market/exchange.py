"""A batch of markets: the arguments, checked, and the arrays that the compiled rules work on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Final

import numpy as np

from ludus.envs.arguments import as_choices, as_integer, as_number, as_share
from ludus.envs.errors import ArgumentError
from ludus.envs.market import layout, rules
from ludus.envs.rubric import Rubric
from ludus.tools.compiling import compile_once

TURNS: Final = {"maker": 30, "noise": 45, "trend": 10, "informed": 15}
"""The scripted traders, in the order of their accounts, and how often each has a turn beside the others."""

MOST: Final = 1000
"""The largest inventory, and order."""


@dataclass(frozen=True, slots=True)
class MarketState:
    """One market: its rows of the three arrays, as bytes, and its key, from which its random words follow."""

    book: bytes
    state: bytes
    view: bytes
    key: int

    @property
    def seen(self) -> np.ndarray:
        """The agent's last view, int64 (VIEW_SIZE,)."""
        return np.frombuffer(self.view, np.int64)

    @property
    def anchor(self) -> int:
        """The key of all of it but of its random words."""
        return int(np.frombuffer(self.state, np.int64)[layout.ANCHOR])


@dataclass(frozen=True)
class Exchange:
    """The arguments that the forms of the market share, checked and in the form that the rules take.

    Raises:
        ArgumentError: an argument is out of range; the message says what would be right.
    """

    max_steps: int = 100
    events: int = 8
    latency: int = 2
    traders: Sequence[str] = tuple(TURNS)
    volatility: float = 0.2
    inventory: int = 4
    limit: int = 20
    size: int = 4
    taker_fee: float = 0.2
    maker_fee: float = 0.0
    risk: float = 0.01
    target: float = 100.0
    settings: np.ndarray = field(init=False, repr=False)
    weights: np.ndarray = field(init=False, repr=False)
    digest: int = field(init=False, repr=False)
    """Of all that the course of a market depends on beside its key."""

    def __post_init__(self) -> None:
        settings = np.zeros(layout.SETTINGS_SIZE, np.int64)
        settings[layout.MAX_STEPS] = as_integer("max_steps", self.max_steps, 1, 10**6)
        settings[layout.EVENTS] = as_integer("events", self.events, 1, 1000)
        settings[layout.LATENCY] = as_integer("latency", self.latency, 0, 1000)
        if self.latency > self.events:
            raise ArgumentError(
                f"latency={self.latency}: an order would arrive after its step, of {self.events} events; "
                "give less latency, or more events"
            )
        settings[layout.VOLATILITY] = round(1000 * as_share("volatility", self.volatility))
        settings[layout.BOUND] = as_integer("limit", self.limit, 1, MOST)
        settings[layout.START] = as_integer("inventory", self.inventory, 0, self.limit)
        settings[layout.SIZE] = as_integer("size", self.size, 1, MOST)
        settings[layout.TAKER_FEE] = _money("taker_fee", self.taker_fee)
        settings[layout.MAKER_FEE] = _money("maker_fee", self.maker_fee)
        present = as_choices("traders", self.traders, TURNS) if self.traders else ()
        for at, (trader, turns) in enumerate(TURNS.items()):
            settings[layout.WEIGHTS + at] = turns if trader in present else 0
        risk = as_number("risk", self.risk, 0, 1000)
        target = as_number("target", self.target, -1e9, 1e9)
        weights = np.array([1.0, -risk])
        for array in (settings, weights):
            array.flags.writeable = False
        told = settings.tobytes() + weights.tobytes() + np.float64(target).tobytes()
        derived = {
            "risk": risk,
            "target": target,
            "settings": settings,
            "weights": weights,
            "digest": int.from_bytes(blake2b(told, digest_size=8).digest(), "big"),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def rubric(self) -> Rubric:
        """The weights of the reward terms."""
        return Rubric(dict(zip(rules.TERMS, self.weights.tolist(), strict=True)))

    @property
    def expected(self) -> str:
        """What counts as success."""
        return f"a return of at least {self.target:g}"

    def failure(self, state: MarketState) -> str:
        """Why a market that has closed is no success."""
        return f"returned {self.total(state):.2f}"

    def total(self, state: MarketState) -> float:
        """The return up to an agent's last view."""
        squares = np.frombuffer(state.state, np.int64)[layout.SQUARES]
        return float(self.weights @ (state.seen[layout.PROFIT] / layout.MONEY, squares))


def _money(argument: str, ticks: float) -> int:
    return round(as_number(argument, ticks, -10, 10) * layout.MONEY)


@cache
def _compile() -> None:
    """Compile what `Exchanges` calls, once in a process, by playing a step."""

    def play() -> None:
        exchanges = Exchanges.__new__(Exchanges)
        exchanges._lay_out(Exchange(), 1)
        one = np.ones(1, np.bool_)
        exchanges.begin(one, 0, 1)
        exchanges.advance(np.zeros(1, np.int64), ~one, 0, 1)
        exchanges.look(one, exchanges.observations(), 0, 1)

    compile_once("the market", play)


class Exchanges:
    """N markets in the arrays that `layout` describes. Every method works on rows [low, high) only."""

    def __init__(self, exchange: Exchange, size: int) -> None:
        _compile()
        self._lay_out(exchange, size)

    def _lay_out(self, exchange: Exchange, size: int) -> None:
        self.exchange = exchange
        self.size = size
        self.books = np.zeros((size, 2, layout.CAPACITY), np.int64)
        self.states = np.zeros((size, layout.STATE_SIZE), np.int64)
        self.views = np.zeros((size, layout.VIEW_SIZE), np.int64)
        self.streams = np.zeros(size, np.int64)
        """Each row's stream of episodes: set it before the first `begin`, and the rest follows from it."""
        self.keys = np.zeros(size, np.int64)
        """Of the episodes, for their random words."""
        self._words = np.zeros((size, int(exchange.settings[layout.EVENTS])), np.int64)
        self._opening_words = np.zeros((size, rules.OPENING_WORDS), np.int64)
        self.orders = np.zeros((size, layout.ORDERS_SIZE), np.int64)
        """What agents ask for in the next `trade`."""
        self.terms = np.zeros((len(rules.TERMS), size))
        self.rewards = np.zeros(size)
        self.terminated = np.zeros(size, np.bool_)
        self.truncated = np.zeros(size, np.bool_)
        """Never: a market closes."""
        self.successes = np.zeros(size, np.bool_)

    def begin(self, due: np.ndarray, low: int, high: int) -> None:
        """Open the next market in the rows where `due`, bool (N,)."""
        rules.deal(self.streams, self.keys, due, low, high)
        self.states[low:high, layout.EVENT][due[low:high]] = 0
        rules.draw(self.keys, self.states, self._opening_words, due, low, high)
        rules.begin(
            self.books,
            self.states,
            self.views,
            self._opening_words,
            due,
            self.exchange.settings,
            low,
            high,
        )

    def decide(self, actions: np.ndarray, low: int, high: int) -> None:
        """Write what actions, int64 (N,), ask for into `orders`."""
        rules.decide(self.views, actions, self.orders, self.exchange.settings, low, high)

    def trade(self, resting: np.ndarray, low: int, high: int) -> None:
        """Play one step with `orders` in the rows that are not `resting`, bool (N,); fills terms, rewards,
        the ends and whether they are successes."""
        rules.draw(self.keys, self.states, self._words, ~resting, low, high)
        rules.advance(
            self.books,
            self.states,
            self.views,
            self.orders,
            self._words,
            resting,
            self.exchange.settings,
            self.exchange.weights,
            self.exchange.target,
            self.terms,
            self.rewards,
            self.terminated,
            self.successes,
            low,
            high,
        )

    def advance(self, actions: np.ndarray, resting: np.ndarray, low: int, high: int) -> None:
        """Play one step with `actions`."""
        self.decide(actions, low, high)
        self.trade(resting, low, high)

    @property
    def anchors(self) -> np.ndarray:
        """Keys of the states, int64 (N,)."""
        return self.states[:, layout.ANCHOR]

    def observations(self) -> np.ndarray:
        """Room for what `look` writes, int64 (N, OBSERVATION_SIZE)."""
        return np.empty((self.size, layout.OBSERVATION_SIZE), np.int64)

    def look(self, due: np.ndarray, observations: np.ndarray, low: int, high: int) -> None:
        """Write observations where `due`."""
        rules.look(self.views, observations, due, low, high)

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """Content hashes, uint64, of the episodes in `rows`, bool (N,): of key and arguments."""
        return self.keys[rows].astype(np.uint64) ^ np.uint64(self.exchange.digest)

    def state(self, row: int) -> MarketState:
        """One of the markets, as it stands."""
        book, state, view = (part[row].tobytes() for part in (self.books, self.states, self.views))
        return MarketState(book, state, view, int(self.keys[row]))

    def put(self, row: int | slice, state: MarketState) -> None:
        """Bring a row, or several, to where `state` was taken."""
        self.books[row] = np.frombuffer(state.book, np.int64).reshape(self.books.shape[1:])
        self.states[row] = np.frombuffer(state.state, np.int64)
        self.views[row] = np.frombuffer(state.view, np.int64)
        self.keys[row] = state.key
