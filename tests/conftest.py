"""What every test process starts with, however the tests were started."""

import os
import signal

import pytest

# One thread for torch, so that pytest-xdist's workers do not fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs with Ctrl-C ignored, and Python then leaves it so.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
    """Skips where no sandbox can be had, with the reason; where CI runs, that is a failure."""
    from ludus.tools.errors import UserError
    from ludus.tools.sandbox import Sandbox

    try:
        Sandbox.open().close()
    except UserError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
