"""A model that engine and trainer share: each of them computes with an attention function of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

_locks: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()


@contextmanager
def computing_with(model: Any, attention: str) -> Iterator[None]:
    """The model in evaluation mode with this attention, and afterwards as it was. Who shares a model takes
    turns.

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
