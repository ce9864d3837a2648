"""An environment in a thread of its own, off the event loop."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import gymnasium

from ludus.envs.faults import EnvironmentFault

T = TypeVar("T")
_Outcome = tuple[Any, BaseException | None]
_CLOSING_SECONDS = 1.0
"""How long an environment may take to close before its thread is abandoned."""
_Call = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "_Outcomes", "asyncio.Future[_Outcome]"]


class _Outcomes:
    """What threads hand over to one event loop.

    The loop is woken once for all that comes while it is busy: waking it is a system call, for which a thread
    gives up the interpreter and then has to wait for it again.
    """

    def __init__(self) -> None:
        self._ready: deque[tuple[asyncio.Future[_Outcome], _Outcome]] = deque()
        self._is_awake = False
        """Whether the loop will still look."""

    def add(
        self, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[_Outcome]", outcome: _Outcome
    ) -> None:
        self._ready.append((answer, outcome))
        if not self._is_awake:
            self._is_awake = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: no one is waiting
                loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._is_awake = False  # first, so that nothing stays behind
        while self._ready:
            answer, outcome = self._ready.popleft()
            if not answer.done():
                answer.set_result(outcome)


_OUTCOMES: WeakKeyDictionary[asyncio.AbstractEventLoop, _Outcomes] = WeakKeyDictionary()


class Worker:
    """Runs calls one after the other in a thread of its own.

    An environment stays in one thread all its life, as libraries with thread-bound handles expect. The thread
    is a daemon, so that a call that never returns can be abandoned without keeping the program from ending,
    unlike in a `ThreadPoolExecutor`, which joins its threads at exit.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[_Call | Callable[[], object]] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(
        self,
        function: Callable[[], T],
        seconds: float | None = None,
        steps: Callable[[], int] = lambda: 0,
    ) -> T:
        """The result of `function`, or its exception. Once queued, it is run whether or not anyone still
        waits.

        Args:
            seconds: the most that it may take; if it counts `steps`, the most between two of them (up to
                twice as long may pass before it is noticed).

        Raises:
            TimeoutError: it took longer than `seconds`; the thread is still busy.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Outcome] = loop.create_future()
        alarm: asyncio.TimerHandle | None = None

        def look(seen: int) -> None:
            nonlocal alarm
            if answer.done():
                return
            if (now := steps()) != seen:
                alarm = loop.call_later(seconds or 0.0, look, now)
            else:
                answer.set_exception(TimeoutError(f"no answer within {seconds:g} s"))

        outcomes = _OUTCOMES.get(loop) or _OUTCOMES.setdefault(loop, _Outcomes())
        self._calls.put((function, loop, outcomes, answer))
        if seconds is not None:
            # Only a timer: `asyncio.wait` costs as much as a short step.
            alarm = loop.call_later(seconds, look, steps())
        try:
            result, error = await answer
        finally:
            answer.cancel()
            if alarm is not None:
                alarm.cancel()
        if error is not None:
            raise error
        return result

    def stop(self, last: Callable[[], object] = lambda: None) -> None:
        """End the thread after all queued calls, and then `last`."""
        self._calls.put(last)

    def _run(self) -> None:
        while isinstance(call := self._calls.get(), tuple):
            function, loop, outcomes, answer = call
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:
                error = raised
            outcomes.add(loop, answer, (result, error))
        call()


class EnvironmentWorker:
    """An environment used for one episode after another, in its own thread.

    Args:
        name: of the thread.
        make: makes the environment; called in that thread, once for each instance needed.
        seconds: the most that one call may take; None: no limit.
    """

    def __init__(self, name: str, make: Callable[[], gymnasium.Env[Any, Any]], seconds: float | None) -> None:
        self._name = name
        self._make = make
        self._seconds = seconds
        self._worker = Worker(name)
        self._stuck = False
        self._env: gymnasium.Env[Any, Any] | None = None

    async def open(self) -> gymnasium.Env[Any, Any]:
        """The environment, made at the first call.

        Raises:
            EnvironmentFault: it cannot be made.
        """
        if self._env is None:
            self._env = await self._worker.call(self._make)
        return self._env

    async def call(self, method: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
        """The result of a method of the environment.

        Raises:
            EnvironmentFault: of its own, or because it took too long.
        """
        try:
            return await self._worker.call(lambda: method(*arguments, **keywords), self._seconds)
        except TimeoutError as error:
            self._stuck = True
            raise EnvironmentFault(f"{method.__name__}() gave {error}") from error

    async def play(self, episode: Callable[[], T], steps: Callable[[], int]) -> T:
        """A whole episode in the environment's thread, each of whose `steps` may take the seconds of a call.

        Raises:
            EnvironmentFault: of its own, or because a step took too long.
        """
        try:
            return await self._worker.call(episode, self._seconds, steps)
        except TimeoutError as error:
            self._stuck = True
            raise EnvironmentFault(f"{'step' if steps() else 'reset'}() gave {error}") from error

    async def renew(self) -> None:
        """Replace a faulty environment. If no new one can be made, the next `open` says why."""
        await self.close()
        self._worker, self._stuck = Worker(self._name), False
        with contextlib.suppress(EnvironmentFault):
            await self.open()

    async def close(self) -> None:
        env, self._env = self._env, None
        if env is not None:
            with contextlib.suppress(TimeoutError):
                await self._worker.call(env.close, 0 if self._stuck else _CLOSING_SECONDS)
        self._worker.stop()
