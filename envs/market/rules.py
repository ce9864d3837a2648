"""The rules of the market, compiled: the one implementation behind the single, the vector and the chat form.

`layout` says what the arrays hold. In a step the agent's orders arrive when as many events have happened as
the latency says, and its next view is of the book as it is that many events before the step's end. Its reward
is of the same moment as its view, so that nothing is told before it can be seen.

Whatever is random comes in from outside, one word for each event: `draw` fills in those of the next step,
from the episode's key, which no other kernel knows. So nothing can depend on what has not happened yet.

Kernels work on rows [low, high), so that threads can share a batch. Numba's cache does not notice edits in
other files: after one in `layout`, `book` or `traders`, delete what `__pycache__` has of this one.
"""

import numpy as np

from ludus.envs.compiled_random import advanced, below, mixed
from ludus.envs.market.book import cancel, lots_of, mark, note_best, owner_of, price_of, submit
from ludus.envs.market.layout import (
    AGENT,
    ANCHOR,
    AVERAGE,
    BEST,
    BOUGHT,
    BOUND,
    BUY,
    CANCEL,
    CASH,
    COUNT,
    DEPTH,
    EVENT,
    EVENTS,
    FAIR,
    FIRST_MARK,
    HELD,
    HIGHEST,
    INFORMED,
    INVENTORY,
    KEEP,
    LATENCY,
    LEFT,
    LEVELS,
    LIMIT,
    MAKER,
    MARK,
    MARKET,
    MAX_STEPS,
    MONEY,
    MOVE,
    NOISE,
    OPENING,
    OWN,
    OWNERS,
    PROFIT,
    SEEN,
    SEEN_FLOW,
    SELL,
    SIZE,
    SQUARES,
    START,
    STEP,
    TOUCH,
    TRADED,
    TREND,
    VALUE,
    VOLATILITY,
    WEALTH,
    WEIGHTS,
)
from ludus.envs.market.traders import follow_trend, make_noise, make_quotes, use_information, within
from ludus.tools.compiling import inner, kernel

TERMS = ("profit", "inventory")

# The operation of each action on each side, and by how many ticks its prices better the best ones.
_ACTIONS = {
    "wait": (KEEP, KEEP, 0),
    "cancel": (CANCEL, CANCEL, 0),
    "buy": (MARKET, KEEP, 0),
    "sell": (KEEP, MARKET, 0),
    "quote": (LIMIT, LIMIT, 0),
    "quote inside": (LIMIT, LIMIT, 1),
    "bid": (LIMIT, CANCEL, 0),
    "bid inside": (LIMIT, CANCEL, 1),
    "ask": (CANCEL, LIMIT, 0),
    "ask inside": (CANCEL, LIMIT, 1),
}
ACTIONS = tuple(_ACTIONS)
_MEANINGS = np.array(list(_ACTIONS.values()))

OPENING_LOWEST, OPENING_HIGHEST = 900, 1100
REACH = 400
"""Ticks that the value may go from where it began."""
OPENING_WORDS = 49
"""One for what the market begins with, and one for each of the events that fill the book."""

_STRIDE = 0x9E3779B97F4A7C15 - 2**64
"""Between two starts of SplitMix64, as a signed word."""


@kernel
def deal(streams: np.ndarray, keys: np.ndarray, due: np.ndarray, low: int, high: int) -> None:
    """Where due, advance `streams` to the next episode and give it its key: both int64 (N,)."""
    for i in range(low, high):
        if due[i]:
            streams[i] = mixed(streams[i])
            keys[i] = advanced(streams[i])


@kernel
def draw(
    keys: np.ndarray, states: np.ndarray, words: np.ndarray, due: np.ndarray, low: int, high: int
) -> None:
    """Fill `words`, int64 (N, events), with the next ones of the episodes that are due: word n is the n-th of
    the SplitMix64 stream that begins at the key, whatever has been done meanwhile."""
    for i in range(low, high):
        if not due[i]:
            continue
        for event in range(words.shape[1]):
            words[i, event] = mixed(keys[i] + (states[i, EVENT] + event) * _STRIDE)


@kernel
def begin(
    books: np.ndarray,
    states: np.ndarray,
    views: np.ndarray,
    words: np.ndarray,
    due: np.ndarray,
    settings: np.ndarray,
    low: int,
    high: int,
) -> None:
    """Open the markets that are due; `words` is int64 (N, OPENING_WORDS)."""
    for i in range(low, high):
        if not due[i]:
            continue
        book, state, view = books[i], states[i], views[i]
        book[:] = 0
        state[:] = 0
        view[:] = 0
        word = words[i, 0]
        value = OPENING_LOWEST + below(word, OPENING_HIGHEST + 1 - OPENING_LOWEST)
        word = advanced(word)
        state[VALUE] = state[OPENING] = value
        state[FAIR] = value * MONEY
        state[AVERAGE] = 64 * 2 * value
        state[BEST + BUY], state[BEST + SELL] = value - 1, value + 1
        state[HELD + AGENT] = settings[START] if below(word, 2) else -settings[START]
        if settings[WEIGHTS + MAKER - 1] > 0:
            make_quotes(book, state, settings)
        for event in range(1, OPENING_WORDS):
            _happen(book, state, settings, words[i, event])
        state[EVENT] = OPENING_WORDS
        state[WEALTH] = _wealth(state)
        view[FIRST_MARK] = view[MARK] = mark(state)
        state[SEEN_FLOW] = 0
        _take_view(book, state, view, settings)
        _set_anchor(book, state, view)


@kernel
def decide(
    views: np.ndarray, actions: np.ndarray, orders: np.ndarray, settings: np.ndarray, low: int, high: int
) -> None:
    """Write what actions, int64 (N,), ask for, by what is seen, as `orders`, int64 (N, ORDERS_SIZE)."""
    for i in range(low, high):
        action, view = actions[i], views[i]
        bid, ask = view[TOUCH + BUY], view[TOUCH + SELL]
        # There is room between the best prices only where they are two ticks apart.
        better = _MEANINGS[action, 2] if ask - bid > 1 else 0
        for side in range(2):
            orders[i, 3 * side] = _MEANINGS[action, side]
            orders[i, 3 * side + 1] = within(view[TOUCH + side] + (1 - 2 * side) * better)
            orders[i, 3 * side + 2] = settings[SIZE]


@kernel
def advance(
    books: np.ndarray,
    states: np.ndarray,
    views: np.ndarray,
    orders: np.ndarray,
    words: np.ndarray,
    resting: np.ndarray,
    settings: np.ndarray,
    weights: np.ndarray,
    target: float,
    terms: np.ndarray,
    rewards: np.ndarray,
    terminated: np.ndarray,
    successes: np.ndarray,
    low: int,
    high: int,
) -> None:
    """Play one step of every market that is not `resting`, with `words` from `draw`.

    Fills `terms` float64 (2, N) in the order of TERMS, `rewards` float64 (N,), `terminated` and `successes`
    bool (N,); for resting markets with zeros.
    """
    events, latency = settings[EVENTS], settings[LATENCY]
    for i in range(low, high):
        terms[0, i] = terms[1, i] = rewards[i] = 0.0
        terminated[i] = successes[i] = False
        if resting[i]:
            continue
        book, state, view = books[i], states[i], views[i]
        gained = squared = 0
        for event in range(events + 1):
            if event == latency:
                _receive(book, state, settings, orders[i])
            if event == events - latency:
                gained, squared = _look_again(book, state, view, settings)
            if event < events:
                _happen(book, state, settings, words[i, event])
        state[EVENT] += events
        state[STEP] += 1
        view[LEFT] = settings[MAX_STEPS] - state[STEP]
        _set_anchor(book, state, view)
        terms[0, i] = gained / MONEY
        terms[1, i] = squared
        rewards[i] = weights[0] * terms[0, i] + weights[1] * terms[1, i]
        terminated[i] = state[STEP] >= settings[MAX_STEPS]
        total = weights[0] * (view[PROFIT] / MONEY) + weights[1] * state[SQUARES]
        successes[i] = terminated[i] and total >= target


@inner
def _happen(book: np.ndarray, state: np.ndarray, settings: np.ndarray, word: int) -> None:
    """One event: the value moves or stays, and one of the scripted traders has a turn."""
    if below(word, 1000) < settings[VOLATILITY]:
        word = advanced(word)
        value = state[VALUE] + 2 * below(word, 2) - 1
        if abs(value - state[OPENING]) <= REACH:
            state[VALUE] = value
    total = 0
    for trader in range(MAKER, OWNERS):
        total += settings[WEIGHTS + trader - 1]
    if total == 0:
        return
    word = advanced(word)
    drawn = below(word, total)
    trader = MAKER
    while drawn >= settings[WEIGHTS + trader - 1]:
        drawn -= settings[WEIGHTS + trader - 1]
        trader += 1
    word = advanced(word)
    if trader == MAKER:
        make_quotes(book, state, settings)
    elif trader == NOISE:
        make_noise(book, state, settings, word)
    elif trader == TREND:
        follow_trend(book, state, settings)
    elif trader == INFORMED:
        use_information(book, state, settings, word)
    note_best(book, state)


@inner
def _receive(book: np.ndarray, state: np.ndarray, settings: np.ndarray, orders: np.ndarray) -> None:
    """The agent's orders arrive: first what they replace is cancelled, then they are cut to what its
    inventory limit leaves room for, so that no execution can go beyond it."""
    for side in range(2):
        if orders[3 * side] != KEEP:
            cancel(book, state, side, AGENT)
    for side in range(2):
        operation = orders[3 * side]
        if operation != LIMIT and operation != MARKET:
            continue
        room = settings[BOUND] - (1 - 2 * side) * state[HELD + AGENT]
        lots = min(orders[3 * side + 2], room)
        price = orders[3 * side + 1]
        if operation == MARKET:
            price = HIGHEST if side == BUY else 1
        if lots > 0:
            submit(book, state, settings, side, price, lots, AGENT, operation == LIMIT)
    note_best(book, state)


@inner
def _wealth(state: np.ndarray) -> int:
    """Of the agent: its money, and its inventory at the mid-price."""
    return state[CASH + AGENT] + state[HELD + AGENT] * mark(state) * (MONEY // 2)


@inner
def _look_again(
    book: np.ndarray, state: np.ndarray, view: np.ndarray, settings: np.ndarray
) -> tuple[int, int]:
    """Bring the view up to now; returns what was gained since the last one, and the inventory squared."""
    wealth = _wealth(state)
    gained = wealth - state[WEALTH]
    state[WEALTH] = wealth
    squared = state[HELD + AGENT] * state[HELD + AGENT]
    state[SQUARES] += squared
    view[PROFIT] += gained
    _take_view(book, state, view, settings)
    return gained, squared


@inner
def _take_view(book: np.ndarray, state: np.ndarray, view: np.ndarray, settings: np.ndarray) -> None:
    now = mark(state)
    view[LEFT] = settings[MAX_STEPS] - state[STEP]
    view[INVENTORY] = state[HELD + AGENT]
    view[MOVE] = now - view[MARK]
    view[MARK] = now
    view[SEEN] = state[SEEN_FLOW]
    state[SEEN_FLOW] = 0
    for side in range(2):
        view[TRADED + side] = state[BOUGHT + side]
        state[BOUGHT + side] = 0
        view[TOUCH + side] = state[BEST + side]
        view[OWN + 2 * side] = view[OWN + 2 * side + 1] = 0
        first = DEPTH + 2 * LEVELS * side
        for word in range(first, first + 2 * LEVELS):
            view[word] = 0
        level, last = -1, 0
        for at in range(state[COUNT + side] - 1, -1, -1):
            order = book[side, at]
            price, lots = price_of(order), lots_of(order)
            if price != last:
                level, last = level + 1, price
            if level < LEVELS:
                view[first + 2 * level] = price
                view[first + 2 * level + 1] += lots
            if owner_of(order) == AGENT:
                view[OWN + 2 * side] = price
                view[OWN + 2 * side + 1] = lots


@inner
def _set_anchor(book: np.ndarray, state: np.ndarray, view: np.ndarray) -> None:
    """Key the market as it stands: all its words but those that lie behind the last order."""
    total = np.uint64(0)
    factor = np.uint64(0x100000001B3)
    for word in range(ANCHOR):
        total = (total ^ np.uint64(state[word])) * factor
    for word in range(view.size):
        total = (total ^ np.uint64(view[word])) * factor
    for side in range(2):
        for at in range(state[COUNT + side]):
            total = (total ^ np.uint64(book[side, at])) * factor
    state[ANCHOR] = np.int64(np.uint64(mixed(np.int64(total))) >> np.uint64(1))


@kernel
def look(views: np.ndarray, observations: np.ndarray, due: np.ndarray, low: int, high: int) -> None:
    """Write what agents observe in the rows that are `due`: int64 (N, OBSERVATION_SIZE). Prices are distances
    from the mid-price, in half ticks; negative ones lie on its other side."""
    for i in range(low, high):
        if not due[i]:
            continue
        view, seen = views[i], observations[i]
        now = view[MARK]
        seen[0], seen[1], seen[2] = view[LEFT], view[INVENTORY], view[PROFIT]
        seen[3], seen[4], seen[5] = now - view[FIRST_MARK], view[MOVE], view[SEEN]
        seen[6], seen[7] = view[TRADED + BUY], view[TRADED + SELL]
        for pair in range(2 + 2 * LEVELS):
            side = pair if pair < 2 else (pair - 2) // LEVELS
            price, lots = view[OWN + 2 * pair], view[OWN + 2 * pair + 1]
            seen[8 + 2 * pair] = (1 - 2 * side) * (now - 2 * price) if lots else 0
            seen[9 + 2 * pair] = lots
