"""A backend: a function that starts the fork server somewhere and returns its socket."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from socket import socket

from ludus.tools.errors import UserError
from ludus.tools.sandbox.bubblewrap import MISSING, find_bwrap
from ludus.tools.sandbox.limits import Limits

GUARANTEES = ("files", "network", "processes", "users", "system calls", "memory", "process count", "disk")
"""What a backend may isolate or limit."""

GUEST_ENVIRONMENT = {
    # As far as possible, a program does the same thing every time.
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Environment variables of every guest, besides those for paths."""


@dataclass(frozen=True)
class LaunchSpec:
    """What to start."""

    limits: Limits = field(default_factory=Limits)
    packages: tuple[str, ...] = ()
    """Distributions that guests may import; their dependencies are included."""
    preload: tuple[str, ...] = ()
    """Modules that the fork server imports in advance, so that guests do not wait for them."""


@dataclass(frozen=True)
class Launched:
    """A fork server that has been started."""

    control: socket
    """A stream socket to it (see `guest/server.py`)."""
    kill: Callable[[], None]
    """End it, and everything in it, at once. Further calls do nothing."""
    isolation: Mapping[str, str]
    """How each of `GUARANTEES` is kept; those that are not are absent."""
    settle: Callable[[], None] = lambda: None
    """Called once, when the server has finished loading."""
    out_of_memory: Callable[[], int] = lambda: 0
    """How often the kernel has killed a process in it for lack of memory, if known."""
    last_words: Callable[[], str] = lambda: ""
    """The last line written by a server that died while starting, if known."""


Backend = Callable[[LaunchSpec], Launched]

_MODULES = {
    "process": "ludus.tools.sandbox.process",
    "docker": "ludus.tools.sandbox.docker",
    "subprocess": "ludus.tools.sandbox.subprocess",
}


_OTHERS = "or choose LUDUS_SANDBOX=docker, or LUDUS_SANDBOX=subprocess, which isolates nothing"


def backend_name(name: str | None = None) -> str:
    """The backend to use: `name`, else `LUDUS_SANDBOX`, else `process` if it can run here.

    Raises:
        UserError: there is no such backend, or no backend was named and `process` cannot run here.
    """
    chosen = name or os.environ.get("LUDUS_SANDBOX") or None
    if chosen is None:
        if sys.platform != "linux":
            raise UserError(f"no sandbox: bubblewrap needs Linux; {_OTHERS}")
        if find_bwrap() is None:
            raise UserError(f"no sandbox: {MISSING}; {_OTHERS}")
        return "process"
    if chosen not in _MODULES:
        source = "backend" if name else "LUDUS_SANDBOX"
        raise UserError(f"{source}={chosen!r} is not a sandbox; choose from {', '.join(_MODULES)}")
    return chosen


def backend(name: str) -> Backend:
    """The backend with that name, imported on first use."""
    launch: Backend = import_module(_MODULES[name]).launch
    return launch
