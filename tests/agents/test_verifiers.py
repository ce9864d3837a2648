"""verifiers: `in_verifiers.py`, in the interpreter that `.ci/surface.sh start verifiers` makes; and what is
said where it is missing."""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from ludus.cli import main
from ludus.tools.errors import UserError

PYTHON = os.environ.get("LUDUS_TEST_VERIFIERS")
HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_holds_where_verifiers_is_installed(tmp_path: Path) -> None:
    if not PYTHON:
        reason = "needs verifiers: run `.ci/surface.sh start verifiers` and what it prints"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Not from the clone, where Python would find folders in the place of packages.
    command = [PYTHON, "-m", "pytest", "--rootdir", HERE.parents[1], "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, HERE / "in_verifiers.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE.parent / "envs")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]


@pytest.mark.skipif(find_spec("verifiers") is not None, reason="verifiers is installed here")
def test_where_verifiers_is_missing_one_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = "this needs verifiers, which is not installed: pip install 'ludus[verifiers]'"
    assert main(["check", "ludus/Arithmetic-v0", "--surface", "verifiers"]) == 1
    assert capsys.readouterr().err == f"error: {told}\n"
    with pytest.raises(UserError, match="this needs verifiers, which is not installed"):
        import ludus_vf  # noqa: F401
