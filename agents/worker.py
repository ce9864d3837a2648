"""A thread for one environment, off the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """Runs calls one after the other in a thread of its own.

    An environment lives in one thread all its life, as libraries with thread-bound handles expect. The thread
    is a daemon, so that a call which never returns can be given up without keeping the program from ending;
    that is what a `ThreadPoolExecutor`, which joins its threads at exit, cannot offer.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def call(self, function: Callable[[], T], seconds: float | None = None) -> T:
        """What `function` returns or raises.

        Raises:
            TimeoutError: it took longer than `seconds`. The thread is still busy with it: drop this worker.
        """
        future: Future[T] = Future()
        self._calls.put((function, future))
        waiting = asyncio.wrap_future(future)
        done, _ = await asyncio.wait([waiting], timeout=seconds)
        if not done:
            waiting.cancel()
            raise TimeoutError(f"no answer within {seconds:g} s")
        return waiting.result()

    def post(self, function: Callable[[], Any]) -> "Future[Any]":
        """Run `function` after what is queued, without waiting for it."""
        future: Future[Any] = Future()
        self._calls.put((function, future))
        return future

    def stop(self) -> None:
        """End the thread once it has done what is queued."""
        self._calls.put(None)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            function, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
