"""`give_back`: what a process has freed goes back to the system."""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Let go of the pages that are free. The GNU C library keeps them for blocks to come; but where other
    blocks follow, such as those of a new model, they come beside."""
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """None where the C library is another one."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows has no library without a name
        return None
