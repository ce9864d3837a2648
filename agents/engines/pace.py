"""`Pace`: how many requests a server bears at once, found out by asking (additive increase, multiplicative
decrease: Chiu and Jain, 1989).

A server that limits requests answers 429, often without saying for how long. Then fewer requests are sent at
once, half as many for every round of refusals and one more for every round of answers, and nothing is sent
until the limit's window has passed: for as long as the server asks, or for a time that doubles, and the next
time for about as long as it took the last time. One `Pace` is shared by all requests of this process to a
model of a server.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from weakref import WeakSet

from ludus.agents.engines import retries
from ludus.agents.engines.options import ServerListener
from ludus.tools.wording import duration

LONGEST_WINDOW_S = 60.0
"""The longest wait that is not asked for: most limits count by the minute."""
_FINER = 8
"""Where a window turns out to be longer than the last one, its end is looked for in steps of this part."""


class Pace:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._most = 0
        """The most requests that were ever in flight."""
        self._in_flight = 0
        self._limit = math.inf
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._closed_until = -math.inf
        self._closed_at = -math.inf
        """When the server began to refuse; -inf while it answers."""
        self._cut_at = -math.inf
        self._refusals = 0
        """Rounds of refusals since it last answered."""
        self._window_s = 0.0
        """How long it refused the last time."""
        self.answered_at = -math.inf
        self.listeners: WeakSet[ServerListener] = WeakSet()
        """They are told whenever the pace changes."""
        self._told = ""

    async def enter(self, first: bool = False) -> float:
        """Wait for a turn; every turn ends with `leave`.

        Args:
            first: before the others, because it was its turn already and the server refused.

        Returns:
            The time of the turn, for `answered`, `limited` and `overloaded`.
        """
        with self._lock:
            if not self._waiting and self._may_enter():
                return self._entered()
            loop = asyncio.get_running_loop()
            turn: asyncio.Future[None] = loop.create_future()
            (self._waiting.appendleft if first else self._waiting.append)((loop, turn))
            self._set_alarm(loop)
        try:
            await turn
        except asyncio.CancelledError:
            with self._lock:
                if (loop, turn) in self._waiting:
                    self._waiting.remove((loop, turn))
                else:
                    self._in_flight -= 1
                self._admit()
            raise
        return self._clock()

    def leave(self) -> None:
        with self._lock:
            self._in_flight -= 1
            if self._waiting:
                self._admit()

    def answered(self, sent_at: float) -> None:
        """The server answered a request that was sent at `sent_at`."""
        now = self._clock()
        with self._lock:
            self.answered_at = now
            if self._limit == math.inf or sent_at < self._cut_at:
                return
            if self._refusals:
                self._window_s = now - self._closed_at
                self._refusals, self._closed_at = 0, -math.inf
            self._limit += 1 / self._limit
            if self._limit > self._most:
                self._limit = math.inf
            self._admit()
        self._tell()

    def limited(self, sent_at: float, wait_s: float | None) -> None:
        """The server refused a request that was sent at `sent_at` because there are too many, and asked for
        `wait_s` without any."""
        now = self._clock()
        with self._lock:
            if sent_at >= self._cut_at:
                self._cut(now)
                if self._refusals == 0:
                    self._closed_at = now
                self._refusals += 1
                if wait_s is None or self._refusals > 1:  # what it asked for was too short
                    wait_s = max(wait_s or 0.0, self._guess_s())
            if wait_s is not None:
                self._closed_until = max(self._closed_until, now + wait_s)
            for loop in {loop for loop, _ in self._waiting}:
                loop.call_soon_threadsafe(self._alarm, loop)
        self._tell()

    def overloaded(self, sent_at: float) -> None:
        """The server had no room for a request that was sent at `sent_at`."""
        now = self._clock()
        with self._lock:
            if sent_at >= self._cut_at:
                self._cut(now)
        self._tell()

    @property
    def shown(self) -> str:
        """One line about it; empty while the server does not limit us."""
        if self._limit == math.inf:
            return ""
        left = self._closed_until - self._clock()
        if left > 1:
            return f"waiting {duration(left)}: the server limits requests"
        return f"{int(self._limit)} at once: the server limits requests"

    def _guess_s(self) -> float:
        """How long to wait where the server does not say."""
        if not self._window_s:
            return min(LONGEST_WINDOW_S, retries.FIRST_S * 2.0 ** min(self._refusals - 1, 16))
        return self._window_s * 0.9 if self._refusals == 1 else self._window_s / _FINER

    def _cut(self, now: float) -> None:
        self._limit = max(1.0, min(self._limit, self._in_flight) / 2)
        self._cut_at = now

    def _may_enter(self) -> bool:
        if self._limit == math.inf:
            return True
        # While it refuses, one request is enough to find out whether it still does.
        limit = 1 if self._refusals else int(self._limit)
        return self._in_flight < limit and self._clock() >= self._closed_until

    def _entered(self) -> float:
        self._in_flight += 1
        self._most = max(self._most, self._in_flight)
        return self._clock()

    def _admit(self) -> None:
        """Let in those whose turn it is."""
        while self._waiting and self._may_enter():
            loop, turn = self._waiting.popleft()
            if loop.is_closed():
                continue
            self._entered()
            loop.call_soon_threadsafe(_settle, turn)

    def _set_alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look again when the server may be asked again."""
        left = self._closed_until - self._clock()
        if left > 0:
            loop.call_later(left, self._alarm, loop)

    def _alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._admit()
            if any(waiting is loop for waiting, _ in self._waiting):
                self._set_alarm(loop)
        self._tell()

    def _tell(self) -> None:
        shown = self.shown
        if shown != self._told:
            self._told = shown
            for listener in tuple(self.listeners):
                listener.paced(shown)


def _settle(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)


_PACES: dict[str, Pace] = {}


def pace_of(server: str) -> Pace:
    """The pace of this process with a model of a server, by its name."""
    if server not in _PACES:
        _PACES[server] = Pace()
    return _PACES[server]
