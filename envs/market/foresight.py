"""Perfect foresight: the best orders for a market whose future is known, by trying them out in it.

The search goes through time once and keeps, for each inventory that the agent may hold, the market that has
earned most, as dynamic programming over inventories would if the agent did not move prices. A market is
deterministic, so that what is found can be played; no agent that cannot see the future gets there, except by
luck.
"""

import numpy as np

from ludus.envs.market import layout, rules
from ludus.envs.market.exchange import Exchange, Exchanges, MarketState

KEPT = 24
"""Markets that are kept from step to step."""


def foresee(exchange: Exchange, state: MarketState, kept: int = KEPT) -> list[int]:
    """The actions, from `state` to the close, of the best course that was found.

    Args:
        exchange: the arguments of the market.
        state: where the course begins.
        kept: how many markets are kept from step to step.
    """
    count = len(rules.ACTIONS)
    tried = Exchanges(exchange, kept * count)
    actions = np.tile(np.arange(count), kept)
    nobody = np.zeros(tried.size, np.bool_)
    tried.put(slice(None), state)
    alive = 1
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(int(state.seen[layout.LEFT])):
        rows = alive * count
        tried.advance(actions, nobody, 0, rows)
        chosen = _best(tried, rows, kept)
        steps.append((chosen // count, chosen % count))
        alive = len(chosen)
        for part in (tried.books, tried.states, tried.views):
            part[: alive * count] = np.repeat(part[chosen], count, axis=0)
    # The best of the last step comes first: back from there to the beginning.
    found, at = [], 0
    for parents, taken in reversed(steps):
        found.append(int(taken[at]))
        at = int(parents[at])
    return found[::-1]


def _best(tried: Exchanges, rows: int, kept: int) -> np.ndarray:
    """The rows to keep, the best first: at most `kept`, and one of each inventory."""
    views, states = tried.views[:rows], tried.states[:rows]
    profit, risk = tried.exchange.weights
    returns = profit * (views[:, layout.PROFIT] / layout.MONEY) + risk * states[:, layout.SQUARES]
    order = np.argsort(-returns, kind="stable")
    _, first = np.unique(states[order, layout.HELD], return_index=True)
    return order[np.sort(first)[:kept]]
