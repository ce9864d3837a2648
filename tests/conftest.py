"""How every test process starts, and how a run ends: with what was missing.

A test that cannot run here because something is missing skips with `needs THING: what is wrong, or how to get
it`. A test that does not apply (to this path, to this user) skips with any other reason.
"""

import gc
import os
import resource
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from hypothesis import settings

# The same examples every time, and no limit on how long a machine takes for one.
settings.register_profile("ludus", deadline=None, derandomize=True)
settings.load_profile("ludus")

# One thread for torch, so that pytest-xdist's workers do not fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs with Ctrl-C ignored, and Python keeps it so.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported lives as long as the process: the garbage collector need not look through it, neither
    while it is imported nor in any test."""
    gc.disable()
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


def pytest_addoption(parser):
    parser.addoption(
        "--serial-products",
        action="store_true",
        help="let torch's matrix products add one term after another, as they do on some processors",
    )


@pytest.fixture(scope="session", autouse=True)
def products(request):
    """Whose matrix products the tests run with."""
    if not request.config.getoption("--serial-products"):
        yield
        return
    from .serial_products import serial_products

    with serial_products():
        yield


@pytest.fixture(scope="session")
def needs_sandbox():
    """Skips where no sandbox can be had; in CI, that is a failure."""
    from ludus.tools.errors import UserError
    from ludus.tools.sandbox import Sandbox

    try:
        Sandbox.open().close()
    except UserError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs a sandbox: {error}")


@pytest.fixture
def files_at_most() -> Callable[[int], AbstractContextManager[None]]:
    """`with files_at_most(size):` writing a file beyond this many bytes fails, as on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


def pytest_terminal_summary(terminalreporter):
    """A line for each missing thing, with the number of tests skipped because of it."""
    reasons = [
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.getreports("skipped")
    ]
    needs = [
        reason.removeprefix("needs ").partition(": ") for reason in reasons if reason.startswith("needs ")
    ]
    details = {thing: detail for thing, _, detail in reversed(needs)}
    for thing, count in Counter(thing for thing, _, _ in needs).most_common():
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.write_line(
            f"missing: {thing}, {tests} skipped: {details[thing]}".rstrip(": "), yellow=True
        )
