"""The limit order book, compiled: price-time priority, exact accounts, fees.

One side of a book is an array of orders, the best one last; of two with one price the earlier one is nearer
to the best. A trader's order is never executed against its own: the one that rests is cancelled. Every trade
moves lots and money from one account to another, and fees to the exchange's.

A resting order is one word, which holds its price, lots and owner. Functions that take arrays are few and
long, because calling one costs more than what most of them do.
"""

import numpy as np

from ludus.envs.market.layout import (
    AGENT,
    BEST,
    BOUGHT,
    BUY,
    CASH,
    COUNT,
    FEES,
    FLOW,
    HELD,
    MAKER,
    MAKER_FEE,
    MONEY,
    SEEN_FLOW,
    SELL,
    TAKER_FEE,
)
from ludus.tools.compiling import inner

_LOTS_AT, _PRICE_AT = 4, 24
"""The owner has the bits below the first, the lots those below the second."""


@inner
def resting_order(price: int, lots: int, owner: int) -> int:
    """The word of an order."""
    return price << _PRICE_AT | lots << _LOTS_AT | owner


@inner
def price_of(order: int) -> int:
    return order >> _PRICE_AT


@inner
def lots_of(order: int) -> int:
    return order >> _LOTS_AT & ((1 << _PRICE_AT - _LOTS_AT) - 1)


@inner
def owner_of(order: int) -> int:
    return order & ((1 << _LOTS_AT) - 1)


@inner
def submit(
    book: np.ndarray,
    state: np.ndarray,
    settings: np.ndarray,
    side: int,
    price: int,
    lots: int,
    owner: int,
    rests: bool,
) -> None:
    """Execute an order against the other side as far as its price allows; the rest stays or is dropped."""
    other, sign = 1 - side, 1 - 2 * side
    top = state[COUNT + other] - 1
    while lots > 0 and top >= 0:
        order = book[other, top]
        paid, resting = price_of(order), owner_of(order)
        if sign * (paid - price) > 0:
            break
        if resting == owner:
            top -= 1
            continue
        traded = min(lots, lots_of(order))
        lots -= traded
        if traded == lots_of(order):
            top -= 1
        else:
            book[other, top] = resting_order(paid, lots_of(order) - traded, resting)
        money, moved = traded * paid * MONEY, sign * traded
        taker_fee, maker_fee = traded * settings[TAKER_FEE], traded * settings[MAKER_FEE]
        state[HELD + owner] += moved
        state[HELD + resting] -= moved
        state[CASH + owner] -= sign * money + taker_fee
        state[CASH + resting] += sign * money - maker_fee
        state[FEES] += taker_fee + maker_fee
        state[SEEN_FLOW] += moved
        # The market maker learns from what others take.
        if owner != MAKER:
            state[FLOW] += moved
        if owner == AGENT:
            state[BOUGHT + side] += traded
        elif resting == AGENT:
            state[BOUGHT + other] += traded
    state[COUNT + other] = top + 1
    if rests and lots > 0:
        at = state[COUNT + side]
        state[COUNT + side] = at + 1
        while at > 0 and sign * (price_of(book[side, at - 1]) - price) >= 0:
            book[side, at] = book[side, at - 1]
            at -= 1
        book[side, at] = resting_order(price, lots, owner)


@inner
def remove(book: np.ndarray, state: np.ndarray, side: int, at: int) -> None:
    """Cancel the order at a place."""
    state[COUNT + side] -= 1
    for place in range(at, state[COUNT + side]):
        book[side, place] = book[side, place + 1]


@inner
def cancel(book: np.ndarray, state: np.ndarray, side: int, owner: int) -> None:
    """Cancel all orders of a trader on one side."""
    kept = 0
    for at in range(state[COUNT + side]):
        order = book[side, at]
        book[side, kept] = order
        kept += owner_of(order) != owner
    state[COUNT + side] = kept


@inner
def note_best(book: np.ndarray, state: np.ndarray) -> None:
    """Keep up the best prices of the scripted traders. The agent's own do not count: it cannot move the price
    at which its inventory is valued by orders of its own."""
    for side in range(2):
        at = state[COUNT + side] - 1
        while at >= 0 and owner_of(book[side, at]) == AGENT:
            at -= 1
        if at >= 0:
            state[BEST + side] = price_of(book[side, at])


@inner
def mark(state: np.ndarray) -> int:
    """Twice the mid-price of the scripted traders."""
    return state[BEST + BUY] + state[BEST + SELL]
