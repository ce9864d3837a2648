"""The scripted players of `ludus/Market-v0`. But for the oracle, they go by the observation alone."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.market.rules import ACTIONS
from ludus.envs.scripted import ScriptedAgent

_LEFT, _INVENTORY, _FLOW = 0, 1, 5
"""Places of an observation."""


def _number(name: str) -> int:
    return ACTIONS.index(name)


class _Null(ScriptedAgent):
    """Waits, and keeps what it began with."""

    def act(self, observation: np.ndarray, info: dict[str, Any]) -> int:
        return _number("wait")


class _Random(ScriptedAgent):
    """Any action."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self._rng = np.random.default_rng(seed)

    def act(self, observation: np.ndarray, info: dict[str, Any]) -> int:
        return int(self._rng.integers(len(ACTIONS)))


class _Hold(ScriptedAgent):
    """Buys as much as it may, and holds it to the close."""

    def begin(self) -> None:
        self._last: int | None = None

    def act(self, observation: np.ndarray, info: dict[str, Any]) -> int:
        inventory, last = int(observation[_INVENTORY]), self._last
        self._last = inventory
        # Where a purchase has changed nothing, the limit is reached.
        return _number("wait" if last == inventory else "buy")


class _TimeWeighted(ScriptedAgent):
    """Works off what it began with in equal parts over the time until the close, at any price (TWAP)."""

    def begin(self) -> None:
        self._first: tuple[int, int] | None = None

    def act(self, observation: np.ndarray, info: dict[str, Any]) -> int:
        left, inventory = int(observation[_LEFT]), int(observation[_INVENTORY])
        if self._first is None:
            self._first = left, inventory
        steps, lots = self._first
        env: Any = self.env.unwrapped
        late = abs(inventory) - abs(lots) * (left - 1) / steps
        if 2 * late < env.exchange.size:
            return _number("wait")
        return _number("sell" if inventory > 0 else "buy")


class _Dealer(ScriptedAgent):
    """Quotes at the best prices, on one side only where takers push to it or its inventory has grown."""

    MEMORY = 0.7
    """What is left of the takers' flow after a step."""
    PUSH = 5
    """Lots of it."""

    def begin(self) -> None:
        self._flow = 0.0

    def act(self, observation: np.ndarray, info: dict[str, Any]) -> int:
        inventory = int(observation[_INVENTORY])
        self._flow = self.MEMORY * self._flow + observation[_FLOW]
        if abs(inventory) > 12:
            return _number("ask" if inventory > 0 else "bid")
        if abs(self._flow) > self.PUSH:
            return _number("bid inside" if self._flow > 0 else "ask inside")
        if abs(inventory) > 3:
            return _number("ask inside" if inventory > 0 else "bid inside")
        return _number("quote")


class _Oracle(ScriptedAgent):
    """Perfect foresight: plays the best course that a search finds in the market's own future."""

    def begin(self) -> None:
        self._actions: Iterator[int] | None = None

    def act(self, observation: np.ndarray, info: dict[str, Any]) -> int:
        if self._actions is None:
            env: Any = self.env.unwrapped
            self._actions = iter(env.foresight())
        return next(self._actions)


class _Churner(ScriptedAgent):
    """A cheater: buys and sells in turn, in case volume pays."""

    def act(self, observation: np.ndarray, info: dict[str, Any]) -> int:
        return _number("buy" if observation[_LEFT] % 2 else "sell")


class _Painter(ScriptedAgent):
    """A cheater: at the close it quotes inside the spread, to have what it holds valued at its own price."""

    def act(self, observation: np.ndarray, info: dict[str, Any]) -> int:
        if observation[_LEFT] > 2:
            return _number("wait")
        return _number("bid inside" if observation[_INVENTORY] > 0 else "ask inside")


class _Pumper(ScriptedAgent):
    """A cheater: at the close it takes whatever moves the price to the side of what it holds."""

    def act(self, observation: np.ndarray, info: dict[str, Any]) -> int:
        if observation[_LEFT] > 4:
            return _number("wait")
        return _number("buy" if observation[_INVENTORY] > 0 else "sell")


NATIVE_AGENTS = {
    "null": _Null,
    "random": _Random,
    "hold": _Hold,
    "twap": _TimeWeighted,
    "dealer": _Dealer,
    "oracle": _Oracle,
    "cheater-churner": _Churner,
    "cheater-painter": _Painter,
    "cheater-pumper": _Pumper,
}
