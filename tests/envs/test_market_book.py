"""The compiled order book does what a slow one does that knows nothing but the rules."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.market import layout
from ludus.envs.market.book import cancel, lots_of, owner_of, price_of, submit
from ludus.tools.compiling import kernel

TAKER_FEE, MAKER_FEE = 30, -10
CANCEL = 2
"""Beside 0, an order that does not rest, and 1, one that does."""


@kernel
def tell(book: np.ndarray, state: np.ndarray, exchange: np.ndarray, message: np.ndarray) -> None:
    kind, side, price, lots, owner = message
    if kind == CANCEL:
        cancel(book, state, side, owner)
    else:
        submit(book, state, exchange, side, price, lots, owner, kind == 1)


@kernel
def read(book: np.ndarray, state: np.ndarray, told: np.ndarray) -> None:
    """The resting orders, (2, CAPACITY, 3): price, lots, owner; zeros where there are none."""
    told[:] = 0
    for side in range(2):
        count = state[layout.COUNT + side]
        for place in range(count):
            order = book[side, count - 1 - place]
            told[side, place, 0] = price_of(order)
            told[side, place, 1] = lots_of(order)
            told[side, place, 2] = owner_of(order)


@dataclass
class Resting:
    side: int
    price: int
    lots: int
    owner: int
    arrival: int

    @property
    def priority(self) -> tuple[int, int]:
        """Price first, then time; the smallest comes first."""
        return (-self.price if self.side == layout.BUY else self.price, self.arrival)


@dataclass
class SlowBook:
    """Looks for the best order anew for every lot."""

    orders: list[Resting] = field(default_factory=list)
    cash: list[int] = field(default_factory=lambda: [0] * layout.OWNERS)
    held: list[int] = field(default_factory=lambda: [0] * layout.OWNERS)
    fees: int = 0
    arrivals: int = 0

    def side(self, side: int) -> list[Resting]:
        orders = [order for order in self.orders if order.side == side]
        return sorted(orders, key=lambda order: order.priority)

    def tell(self, kind: int, side: int, price: int, lots: int, owner: int) -> None:
        if kind == CANCEL:
            self.orders = [order for order in self.orders if (order.side, order.owner) != (side, owner)]
            return
        while lots and (others := self.side(1 - side)):
            best = others[0]
            if best.price > price if side == layout.BUY else best.price < price:
                break
            if best.owner == owner:
                self.orders.remove(best)
                continue
            buyer, seller = (owner, best.owner) if side == layout.BUY else (best.owner, owner)
            self.held[buyer] += 1
            self.held[seller] -= 1
            self.cash[buyer] -= 100 * best.price
            self.cash[seller] += 100 * best.price
            self.cash[owner] -= TAKER_FEE
            self.cash[best.owner] -= MAKER_FEE
            self.fees += TAKER_FEE + MAKER_FEE
            lots -= 1
            best.lots -= 1
            if not best.lots:
                self.orders.remove(best)
        if lots and kind == 1:
            self.arrivals += 1
            self.orders.append(Resting(side, price, lots, owner, self.arrivals))


messages = st.tuples(
    st.sampled_from([0, 1, 1, 1, CANCEL]), st.integers(0, 1), st.integers(95, 105), st.integers(1, 9),
    st.integers(0, layout.OWNERS - 1),
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(messages, max_size=layout.CAPACITY))
def test_orders_are_matched_by_price_and_then_time(told: list[tuple[int, ...]]) -> None:
    exchange = np.zeros(layout.SETTINGS_SIZE, np.int64)
    exchange[layout.TAKER_FEE], exchange[layout.MAKER_FEE] = TAKER_FEE, MAKER_FEE
    book = np.zeros((2, layout.CAPACITY), np.int64)
    state = np.zeros(layout.STATE_SIZE, np.int64)
    found = np.zeros((2, layout.CAPACITY, 3), np.int64)
    slow = SlowBook()
    for message in told:
        tell(book, state, exchange, np.array(message))
        slow.tell(*message)
        read(book, state, found)
        for side in range(2):
            expected = [(order.price, order.lots, order.owner) for order in slow.side(side)]
            assert [tuple(order) for order in found[side].tolist() if order[1]] == expected
        bids, asks = slow.side(layout.BUY), slow.side(layout.SELL)
        assert not (bids and asks) or bids[0].price < asks[0].price
        accounts = state[layout.CASH : layout.HELD], state[layout.HELD : layout.HELD + layout.OWNERS]
        assert [account.tolist() for account in accounts] == [slow.cash, slow.held]
        assert state[layout.FEES] == slow.fees
        assert sum(slow.held) == 0
        assert sum(slow.cash) + slow.fees == 0


def test_an_order_is_one_word_of_any_price_and_size() -> None:
    book: Any = np.zeros((2, layout.CAPACITY), np.int64)
    state = np.zeros(layout.STATE_SIZE, np.int64)
    found = np.zeros((2, layout.CAPACITY, 3), np.int64)
    exchange = np.zeros(layout.SETTINGS_SIZE, np.int64)
    largest = [layout.HIGHEST, 1000, layout.OWNERS - 1]
    tell(book, state, exchange, np.array([1, layout.SELL, *largest]))
    tell(book, state, exchange, np.array([1, layout.BUY, 1, 1, 0]))
    read(book, state, found)
    assert found[:, 0].tolist() == [[1, 1, 0], largest]
