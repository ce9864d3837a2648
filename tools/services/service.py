"""`Service`: what search, calendar, weather and mail have in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.types import ASGIApp

from ludus.tools.content import content_key

EPOCH = datetime(2031, 3, 3, 8, 0, tzinfo=UTC)
"""Where virtual clocks start by default: a Monday."""


@dataclass
class VirtualClock:
    """The only time that a service knows. It stands still between calls; waiting advances it."""

    now: datetime = EPOCH

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A service at one moment: immutable, picklable, and cheap to take and to restore."""

    state: Any
    now: datetime
    calls: int
    """How many requests it has answered, from which faults are drawn."""


class Service(ABC):
    """An ASGI application whose state follows from a seed and the calls.

    A subclass keeps everything that calls can change in an immutable value behind `state`, and whatever is a
    pure function of its arguments (a world, an index) outside of it, shared between instances. Handlers are
    coroutines that never wait, so that a call in the same process needs no event loop.

    One instance serves one world to one thread at a time.
    """

    name: str
    """Its path under `ludus serve tools`; faults are drawn from the name, too."""
    well_known = ""
    """The name under `/.well-known/` at which clients look for it (RFC 8615); empty if there is none."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self.calls = 0
        self.is_stale = False
        """Whether to answer the current call from outdated data (an injected fault): the page before its last
        edit, yesterday's forecast."""

    @property
    @abstractmethod
    def app(self) -> ASGIApp:
        """The application, rooted at `/`; the same object every time."""

    @property
    @abstractmethod
    def state(self) -> Any: ...

    @state.setter
    @abstractmethod
    def state(self, state: Any) -> None: ...

    def key(self, state: Any, with_stale: bool = False) -> int:
        """The key of a state's content: the same for states from which calls are answered in the same way.
        Histories that only clients from outside ask for (sync tokens, UIDs) play no part.

        Args:
            with_stale: whether answers from outdated data (an injected fault) count, too.
        """
        return content_key(state)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.state, self.clock.now, self.calls)

    def restore(self, snapshot: Snapshot) -> None:
        if self.state is not snapshot.state:
            self.state = snapshot.state
        self.clock.now, self.calls = snapshot.now, snapshot.calls
