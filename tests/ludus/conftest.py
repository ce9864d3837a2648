"""The command line, called in process."""

import re
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from ludus.cli import main


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def assert_refused(self, code: int, *names: object) -> None:
        """One line on stderr that names the things, and the exit code."""
        assert self.code == code, self
        # Pac-Man's first start on a machine says that it compiles.
        assert re.fullmatch(r"(compiling Pac-Man [^\n]+\n)?error: [^\n]+\n", self.err), self.err
        for name in names:
            assert str(name) in self.err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Calls `ludus …` and returns its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "120")

    def call(*words: object) -> Result:
        capsys.readouterr()
        code = main([str(word) for word in words])
        output = capsys.readouterr()
        return Result(code, output.out, output.err)

    return call


@pytest.fixture
def files_at_most() -> Callable[[int], AbstractContextManager[None]]:
    """`with files_at_most(size):` writing a file beyond so many bytes fails, as on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
