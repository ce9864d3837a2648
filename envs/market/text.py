"""A market in words: what the agent sees, in lines for people and language models."""

import numpy as np

from ludus.envs.market.layout import (
    BUY,
    DEPTH,
    INVENTORY,
    LEFT,
    LEVELS,
    MARK,
    MONEY,
    MOVE,
    OWN,
    PROFIT,
    SEEN,
    SELL,
    TRADED,
)

SIDES = ("buy", "sell")


def scene(view: np.ndarray) -> str:
    """A view, int64 (VIEW_SIZE,), in words."""
    words = view.tolist()
    return "\n".join(
        (
            f"Turns left: {words[LEFT]}. Inventory: {words[INVENTORY]:+d}. "
            f"Profit: {words[PROFIT] / MONEY:+.2f}.",
            f"Mid: {words[MARK] / 2:g}, moved {words[MOVE] / 2:+g}. Takers bought {words[SEEN]:+d} net.",
            f"Asks: {_side(words, SELL)}.",
            f"Bids: {_side(words, BUY)}.",
            f"Your orders: {_own(words, BUY)}, {_own(words, SELL)}. "
            f"You bought {words[TRADED + BUY]}, sold {words[TRADED + SELL]}.",
        )
    )


def _side(words: list[int], side: int) -> str:
    """The prices of one side, the best first."""
    first = DEPTH + 2 * LEVELS * side
    pairs = zip(words[first : first + 2 * LEVELS : 2], words[first + 1 : first + 2 * LEVELS : 2], strict=True)
    return ", ".join(f"{lots} at {price}" for price, lots in pairs if lots) or "none"


def _own(words: list[int], side: int) -> str:
    price, lots = words[OWN + 2 * side], words[OWN + 2 * side + 1]
    return f"{SIDES[side]} {lots} at {price}" if lots else f"{SIDES[side]} none"
