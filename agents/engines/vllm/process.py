"""What vLLM changes in the process it runs in, kept apart from everybody else.

Its constructor replaces functions of torch by its own, which it needs while it computes, and seeds random
generators, sets environment variables and a number of threads and stops the collection of garbage, which
nobody needs afterwards.
"""

import gc
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_REPLACED: tuple[tuple[Any, str], ...] = (
    (torch, "set_num_threads"),
    (torch.accelerator, "synchronize"),
    (torch.accelerator, "empty_cache"),
)
"""Functions in whose place vLLM puts its own."""
_SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # its engine is in this process
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


class ProcessState:
    """vLLM's side of what it shares with the rest of the process."""

    def __init__(self) -> None:
        self._own: dict[tuple[Any, str], Any] = {}

    @contextmanager
    def building(self) -> Iterator[None]:
        """Inside, vLLM may change what it likes; afterwards all is as it was before."""
        before, threads = dict(os.environ), torch.get_num_threads()
        randoms = random.getstate(), np.random.get_state()
        os.environ.update(_SETTINGS)
        try:
            with self.computing():
                yield
        finally:
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)
            torch.set_num_threads(threads)
            random.setstate(randoms[0])
            np.random.set_state(randoms[1])
            gc.unfreeze()  # vLLM exempts all that there is from collection

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Inside, torch's functions are those that vLLM left there; afterwards, torch's own, and its random
        generator has not moved."""
        before, generator = _functions(), torch.get_rng_state()
        _put(self._own)
        try:
            yield
        finally:
            self._own = _functions()
            _put(before)
            torch.set_rng_state(generator)


def _functions() -> dict[tuple[Any, str], Any]:
    return {place: getattr(*place) for place in _REPLACED}


def _put(functions: dict[tuple[Any, str], Any]) -> None:
    for place, function in functions.items():
        setattr(*place, function)
