"""`parse`: `ast.parse` for several threads at once."""

import ast
import os
import threading

_LOCK = threading.Lock()
# A fork while another thread parses would leave the lock held forever in the child.
os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


def parse(text: str) -> ast.Module:
    """`ast.parse`, by one thread at a time.

    In Python 3.11 threads share the counter of a tree's depth: if they interleave within `ast.parse`, it
    raises SystemError ("AST constructor recursion depth mismatch", CPython issue 106905).
    """
    with _LOCK:
        return ast.parse(text)
