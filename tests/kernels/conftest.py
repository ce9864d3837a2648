"""Every test of an operator runs on every path available on this machine.

Without a GPU the Triton kernels run in Triton's interpreter, in a process of their own (`make test` starts
it):

    TRITON_INTERPRET=1 pytest tests/kernels

There, matrix kernels are tested in float32 and float16 only (bfloat16 products are silently wrong), with at
most 64 rows and 8,192 words.
"""

import os
from itertools import groupby

import pytest
import torch

from ludus.kernels.paths import VARIABLE

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
GPU = torch.cuda.is_available()
PATHS = ("triton",) if INTERPRETED else ("reference", "cpu", "triton") if GPU else ("reference", "cpu")


if INTERPRETED:
    from .interpreter import patch_language_once, round_fma_once

    round_fma_once()
    patch_language_once()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """In the interpreter's process: what takes no path runs in the other one; of a test's cases the first and
    the last are quick, those between them are slow."""
    if not INTERPRETED:
        return
    items[:] = [item for item in items if "path" in item.fixturenames]
    for _, group in groupby(items, lambda item: item.nodeid.partition("[")[0]):
        for item in [*group][1:-1]:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=PATHS)
def path(request, monkeypatch):
    """The path that every operator takes in this test."""
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


@pytest.fixture
def fused_path(path):
    """The paths with their own backward."""
    if path == "reference":
        pytest.skip("the reference is what the others are compared with")
    return path


@pytest.fixture
def device(path):
    """The device of the path's tensors."""
    return torch.device("cuda" if path == "triton" and not INTERPRETED else "cpu")


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Uninitialised memory is NaN, which reveals a kernel that leaves some of it unwritten."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
