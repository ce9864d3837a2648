"""Where the numbers of a market lie in its arrays.

A batch of N markets is three int64 arrays, and a market is a pure function of its rows, of its random words
and of the agent's orders: `books` (N, 2, CAPACITY), the resting orders of both sides; `states` (N,
STATE_SIZE), everything else that its course depends on; `views` (N, VIEW_SIZE), what the agent saw last,
which is older than the rest where there is latency. Prices are ticks, quantities lots, money hundredths of a
tick times a lot: everything is exact.
"""

from typing import Final

BUY, SELL = range(2)
"""A side of the book, and of an order; the sign of side s is `1 - 2 * s`."""

AGENT, MAKER, NOISE, TREND, INFORMED, OWNERS = range(6)
"""Who trades."""

MAKER_LEVELS: Final = 2
NOISE_MOST: Final = 20
"""Orders of the noise traders that rest on one side."""
CAPACITY: Final = 1 + MAKER_LEVELS + NOISE_MOST
"""Of one side: no trader has more orders resting there than fit. Takers have none, the agent one."""

MONEY: Final = 100
"""Units of money in one tick of one lot."""
HIGHEST: Final = 100_000
"""The highest price of an order; the lowest is 1."""

# One market's state. COUNT and the one after it are the orders of each side, BEST and the one after it the
# best prices of the scripted traders, the last ones where a side has none. EVENT counts the random words that
# have been used. FLOW is the volume bought less the volume sold by takers since the market maker looked last,
# FAIR what it takes for the price, in hundredths of a tick; AVERAGE is the trend follower's, in 64ths of half
# a tick. CASH and HELD are one word for each trader.
COUNT, BEST, EVENT, STEP, VALUE, FLOW, FAIR, AVERAGE, FEES, CASH = 0, 2, 4, 5, 6, 7, 8, 9, 10, 11
HELD: Final = CASH + OWNERS
# Up to the agent's last view: its wealth, and the sum of its squared inventories. Since then: the volume that
# takers bought less what they sold, and the lots that the agent bought and sold itself. OPENING is the value
# at the opening.
WEALTH: Final = HELD + OWNERS
SQUARES, SEEN_FLOW, BOUGHT, OPENING, ANCHOR = WEALTH + 1, WEALTH + 2, WEALTH + 3, WEALTH + 5, WEALTH + 6
STATE_SIZE: Final = ANCHOR + 1

LEVELS: Final = 5
"""Prices of each side that the agent sees."""
# A view: the steps that are left, the agent's inventory and profit, twice the mid-price and that at the
# opening, twice its move, the takers' flow and the agent's own trades since the view before, the scripted
# traders' best prices, the agent's orders (price, lots), and for each level of each side its price and lots;
# no order: 0, 0.
LEFT, INVENTORY, PROFIT, MARK, FIRST_MARK, MOVE, SEEN = range(7)
TRADED, TOUCH, OWN, DEPTH = 7, 9, 11, 15
VIEW_SIZE: Final = DEPTH + 2 * 2 * LEVELS

OBSERVATION_SIZE: Final = 8 + 2 * (2 + 2 * LEVELS)

# What the agent asks for: for each side an operation, a price and a number of lots.
KEEP, CANCEL, LIMIT, MARKET = range(4)
ORDERS_SIZE: Final = 6

# The arguments as one int64 array. WEIGHTS and those after it: how often each trader has a turn, from MAKER
# on.
EVENTS, LATENCY, BOUND, START, SIZE, TAKER_FEE, MAKER_FEE, VOLATILITY, MAX_STEPS, WEIGHTS = range(10)
SETTINGS_SIZE: Final = WEIGHTS + OWNERS - 1
