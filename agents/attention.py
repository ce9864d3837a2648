"""A model shared by engine and trainer, each of which computes with its own attention function."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

_locks: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()


@contextmanager
def computing_with(model: Any, attention: str) -> Iterator[None]:
    """Puts the model into evaluation mode with this attention, and restores it afterwards. Users of a shared
    model must take turns.

    Args:
        attention: The name under which the function is registered with transformers.
    """
    with _locks.setdefault(model, threading.RLock()):
        before = model.config._attn_implementation
        in_training = [module for module in model.modules() if module.training]
        model.config._attn_implementation = attention
        if in_training:
            model.eval()
        try:
            yield
        finally:
            model.config._attn_implementation = before
            for module in in_training:
                module.training = True
