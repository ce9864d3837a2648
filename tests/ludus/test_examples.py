"""The examples run as their first lines say."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("gym_loop.py", "return "),
        ("own_environment.py", "7: Yes!"),
        ("check_own_environment.py", "example/Guess-v0: conforms"),
    ],
)
def test_an_example_runs(script: str, expected: str) -> None:
    command = [sys.executable, str(REPOSITORY / "examples" / script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert "Warn" not in done.stderr
