"""Sandboxes to test: those that can run here; the others skip with the reason."""

import os
import signal
import threading
import warnings

import pytest

from ludus.tools.errors import UserError
from ludus.tools.sandbox import Limits, Sandbox

QUICK = Limits(wall_s=1.5, cpu_s=1.0, memory_mb=64, processes=16, output_kb=16, disk_mb=8)


def opened(backend, **arguments):
    """A sandbox, or a skipped test with the reason why none can run here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return Sandbox.open(backend, **{"limits": QUICK, **arguments})
        except UserError as error:
            if os.environ.get("CI") or (backend == "docker" and "DOCKER_HOST" in os.environ):
                raise  # a named engine must work, and CI has everything
            thing = "a Docker engine" if backend == "docker" else "a sandbox"
            pytest.skip(f"needs {thing}: {error}")


@pytest.fixture(scope="module", params=["process", "docker"])
def box(request):
    """A sandbox that isolates, in every backend that does."""
    with opened(request.param) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _as_new(request):
    """Every test begins with an empty work directory."""
    if "box" in request.fixturenames:
        request.getfixturevalue("box").reset()


def interrupt_soon(seconds: float = 0.2) -> None:
    """Ctrl-C, after a moment."""
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
