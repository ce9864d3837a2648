"""A test run ends with a line for each missing thing, and how many tests were skipped for want of it."""

import pathlib

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.mark.parametrize("n", range(3))
def test_engine(n):
    pytest.skip("needs an engine: start one")

@pytest.mark.skipif(True, reason="needs a GPU")
def test_gpu():
    raise AssertionError

@pytest.mark.skipif(True, reason="the superuser may listen anywhere")
def test_that_does_not_apply():
    raise AssertionError

def test_that_passes():
    pass
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_each_missing_thing_has_a_line(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    pytester.makeconftest((pathlib.Path(__file__).parent / "conftest.py").read_text())
    pytester.makepyfile(TESTS)
    said = pytester.runpytest_subprocess(*workers).outlines
    assert [line for line in said if line.startswith("missing")] == [
        "missing: an engine, 3 tests skipped: start one",
        "missing: a GPU, 1 test skipped",
    ]
