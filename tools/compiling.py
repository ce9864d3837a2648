"""How loops in Python are compiled by numba: once for each processor, cached, announced where it takes long.

A first use compiles for some seconds. What was compiled is kept beside the source, or, where that folder
cannot be written to, in the user's cache directory; later processes load it.
"""

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numba
from numba import njit

from ludus.tools.files import cache_directory

ANNOUNCED_AFTER = 1.5
"""Seconds of compiling after which a line says so in a terminal; a log has no use for it."""

if not numba.config.CACHE_DIR and not os.access(Path(__file__).parent, os.W_OK):
    numba.config.CACHE_DIR = str(cache_directory("numba"))

kernel = njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
"""Decorates what Python calls. It releases the interpreter's lock, so that threads can share a batch."""

inner = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Decorates what only compiled code calls: without an entrance from Python it compiles faster."""


def compile_once(name: str, use: Callable[[], None]) -> None:
    """Compile kernels by using them.

    Of several processes that begin together, one compiles, and the others wait for what it leaves behind.

    Args:
        name: what is compiled, for the line that says so.
        use: calls every kernel with the types that it will be called with.
    """
    line = f"compiling {name} for this processor, once; later starts load it from the cache"
    announcement = threading.Timer(ANNOUNCED_AFTER, lambda: print(line, file=sys.stderr, flush=True))
    announcement.daemon = True
    if sys.stderr.isatty():
        announcement.start()
    try:
        with _alone(f"ludus-{name}".lower().replace(" ", "-")):
            use()
    finally:
        announcement.cancel()


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process of the user's at a time; without locks, where the system has none."""
    try:
        import fcntl

        path = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}.lock"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except (ImportError, OSError):
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
