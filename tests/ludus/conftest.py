"""The command line, called in process."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ludus.cli import main


@dataclass(frozen=True)
class Result:
    """What a command returned and printed."""

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
