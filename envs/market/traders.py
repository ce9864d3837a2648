"""The scripted traders, compiled. In an event one of them has a turn; who, and what it draws, follows from
the event's random word alone, whatever the agent does.

The market maker learns from the takers' flow (Kyle 1985) and leans against its inventory (Ho and Stoll 1981);
the noise traders are those of zero intelligence (Farmer, Patelli and Zovko 2005).
"""

import numpy as np

from ludus.envs.compiled_random import advanced, below
from ludus.envs.market.book import cancel, mark, owner_of, remove, submit
from ludus.envs.market.layout import (
    AVERAGE,
    BEST,
    BUY,
    COUNT,
    FAIR,
    FLOW,
    HELD,
    HIGHEST,
    INFORMED,
    MAKER,
    MAKER_LEVELS,
    MONEY,
    NOISE,
    NOISE_MOST,
    SELL,
    TREND,
    VALUE,
)
from ludus.tools.compiling import inner

IMPACT = 12
"""Hundredths of a tick by which a lot of the takers' flow moves what the market maker takes for the price."""
LEAN = 4
"""Hundredths of a tick by which it lowers its quotes for each lot that it holds."""
HALF_SPREAD = 130
"""Hundredths of a tick from what it takes for the price to each of its quotes, before rounding outwards."""
LEVEL_STEP = 2
"""Ticks between its quotes."""
MAKER_LOTS = 6

NOISE_TAKES, NOISE_RESTS = 25, 75
"""In a hundred turns of the noise traders, below the first they take, below the second they rest an order; in
the others one is cancelled."""
NOISE_REACH = 8
"""Ticks from the other side's best price within which their orders rest."""
NOISE_LOTS = 4

MARGIN = 1
"""Ticks that the informed trader must gain on a lot."""
INFORMED_LOTS = 4

COLLAR = 10
"""Ticks beyond the other side's best price at which noise traders and trend follower still take. Without it
they would sell to a bid of 1 where nobody else bids."""

TREND_NOTICES = 3 * 64
"""From this distance of the price from its average on, in 64ths of half a tick, the trend follower trades."""
TREND_MOST = 16
TREND_LOTS = 2


@inner
def make_quotes(book: np.ndarray, state: np.ndarray, settings: np.ndarray) -> None:
    """The market maker replaces its quotes."""
    state[FAIR] += IMPACT * state[FLOW]
    state[FLOW] = 0
    centre = state[FAIR] - LEAN * state[HELD + MAKER]
    for side in range(2):
        cancel(book, state, side, MAKER)
    bid = (centre - HALF_SPREAD) // MONEY
    ask = -((-centre - HALF_SPREAD) // MONEY)
    for level in range(MAKER_LEVELS):
        lots = MAKER_LOTS * (1 + level)
        submit(book, state, settings, BUY, within(bid - LEVEL_STEP * level), lots, MAKER, True)
        submit(book, state, settings, SELL, within(ask + LEVEL_STEP * level), lots, MAKER, True)


@inner
def make_noise(book: np.ndarray, state: np.ndarray, settings: np.ndarray, word: int) -> None:
    """A noise trader takes, rests an order near the other side's best price, or loses one."""
    kind = below(word, 100)
    word = advanced(word)
    side = below(word, 2)
    sign = 1 - 2 * side
    word = advanced(word)
    if kind >= NOISE_RESTS:
        if state[COUNT + side] > 0:
            at = below(word, state[COUNT + side])
            if owner_of(book[side, at]) == NOISE:
                remove(book, state, side, at)
        return
    lots = 1 + below(word, NOISE_LOTS)
    if kind < NOISE_TAKES:
        submit(book, state, settings, side, _worst(state, side), lots, NOISE, False)
        return
    word = advanced(word)
    price = within(state[BEST + 1 - side] - sign * (1 + below(word, NOISE_REACH)))
    resting, deepest = 0, 0
    for at in range(state[COUNT + side] - 1, -1, -1):
        if owner_of(book[side, at]) == NOISE:
            resting += 1
            deepest = at
    if resting == NOISE_MOST:
        remove(book, state, side, deepest)
    submit(book, state, settings, side, price, lots, NOISE, True)


@inner
def follow_trend(book: np.ndarray, state: np.ndarray, settings: np.ndarray) -> None:
    """The trend follower buys above its average and sells below it."""
    away = 64 * mark(state) - state[AVERAGE]
    state[AVERAGE] += away // 8
    side = BUY if away > 0 else SELL
    room = TREND_MOST - (1 - 2 * side) * state[HELD + TREND]
    if abs(away) >= TREND_NOTICES and room > 0:
        submit(book, state, settings, side, _worst(state, side), min(TREND_LOTS, room), TREND, False)


@inner
def use_information(book: np.ndarray, state: np.ndarray, settings: np.ndarray, word: int) -> None:
    """The informed trader takes what is offered on the wrong side of the value."""
    lots = 1 + below(word, INFORMED_LOTS)
    for side in range(2):
        worst = within(state[VALUE] - (1 - 2 * side) * MARGIN)
        submit(book, state, settings, side, worst, lots, INFORMED, False)


@inner
def _worst(state: np.ndarray, side: int) -> int:
    """The worst price at which an order on this side is executed."""
    return within(state[BEST + 1 - side] + (1 - 2 * side) * COLLAR)


@inner
def within(price: int) -> int:
    """The nearest price that an order may have."""
    return min(max(price, 1), HIGHEST)
