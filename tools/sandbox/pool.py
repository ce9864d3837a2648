"""`SandboxPool`: warm sandboxes for many programs at once."""

import asyncio
import atexit
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

from ludus.tools.errors import UserError
from ludus.tools.sandbox.backends import Backend, backend_name
from ludus.tools.sandbox.limits import Limits
from ludus.tools.sandbox.result import CallResult, Result, SandboxFault
from ludus.tools.sandbox.sandbox import Sandbox


class SandboxPool:
    """At most `size` sandboxes, started on demand and reused.

    A sandbox is handed out with an empty work directory and no processes left of its last user. One that has
    died, or cannot be emptied, is replaced. Thread-safe.
    """

    def __init__(
        self,
        size: int | None = None,
        backend: str | Backend | None = None,
        limits: Limits | None = None,
        packages: Iterable[str] = (),
        preload: Iterable[str] = (),
    ) -> None:
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise UserError(f"size={size!r}: give the number of sandboxes, at least 1")
        self.size = size or 2 * (os.cpu_count() or 1)
        self._open = partial(
            Sandbox.open, backend, limits or Limits(), packages=tuple(packages), preload=tuple(preload)
        )
        self._free: list[Sandbox] = []
        self._places = threading.Semaphore(self.size)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(self.size, thread_name_prefix="ludus-sandbox")
        self._closed = False

    @contextmanager
    def box(self) -> Iterator[Sandbox]:
        """A sandbox for several steps; waits until one is free.

        Raises:
            SandboxFault: the sandbox did not start, or the pool is closed.
        """
        with self._places:
            box = self._take()
            try:
                yield box
            finally:
                self._give_back(box)

    def run(
        self,
        code: str,
        stdin: str | bytes = "",
        files: Mapping[str, bytes | str] | None = None,
        files_out: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Result:
        """`Sandbox.run` in a work directory that holds `files` and nothing else."""
        with self.box() as box:
            for name, data in (files or {}).items():
                box.write(name, data)
            return box.run(code, stdin, files_out, limits)

    def call(
        self,
        code: str,
        name: str,
        inputs: Sequence[Sequence[Any]],
        files: Mapping[str, bytes | str] | None = None,
        limits: Limits | None = None,
    ) -> CallResult:
        """`Sandbox.call` in a work directory that holds `files` and nothing else."""
        with self.box() as box:
            for path, data in (files or {}).items():
                box.write(path, data)
            return box.call(code, name, inputs, limits)

    async def arun(
        self,
        code: str,
        stdin: str | bytes = "",
        files: Mapping[str, bytes | str] | None = None,
        files_out: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Result:
        """`run`, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, partial(self.run, code, stdin, files, files_out, limits)
        )

    async def acall(
        self,
        code: str,
        name: str,
        inputs: Sequence[Sequence[Any]],
        files: Mapping[str, bytes | str] | None = None,
        limits: Limits | None = None,
    ) -> CallResult:
        """`call`, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, partial(self.call, code, name, inputs, files, limits)
        )

    def close(self) -> None:
        """End the sandboxes; those in use end when they are returned."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for box in free:
            box.close()
        self._threads.shutdown(wait=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self) -> Sandbox:
        with self._lock:
            if self._closed:
                raise SandboxFault("the pool of sandboxes is closed")
            box = self._free.pop() if self._free else None
        return box if box is not None and box.alive else self._open()

    def _give_back(self, box: Sandbox) -> None:
        try:
            box.reset()
        except SandboxFault:
            return  # it is closed, and the next caller starts another
        except BaseException:
            box.close()
            raise
        with self._lock:
            if not self._closed and box.alive:
                self._free.append(box)
                return
        box.close()


_shared: dict[Any, SandboxPool] = {}
_shared_lock = threading.Lock()


def shared_pool(
    limits: Limits | None = None, packages: Iterable[str] = (), preload: Iterable[str] = ()
) -> SandboxPool:
    """This process's pool of such sandboxes, on the backend named by `LUDUS_SANDBOX`; closed at exit.

    Raises:
        UserError: no sandbox can run here.
    """
    # A fork gets its own pools: with its parent's it would share sockets.
    key = (os.getpid(), backend_name(), limits or Limits(), tuple(packages), tuple(preload))
    with _shared_lock:
        if key not in _shared:
            _shared[key] = SandboxPool(None, key[1], key[2], key[3], key[4])
            atexit.register(_shared[key].close)
        return _shared[key]
