"""OpenEnv: `in_openenv.py`, in the interpreter that `.ci/surface.sh start openenv` makes; and what is said
where it is missing."""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from ludus.cli import main
from ludus.envs.conformance.surfaces.all import surface
from ludus.tools.errors import UserError

PYTHON = os.environ.get("LUDUS_TEST_OPENENV")
HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_holds_where_openenv_is_installed(tmp_path: Path) -> None:
    if not PYTHON:
        reason = "needs OpenEnv: run `.ci/surface.sh start openenv` and what it prints"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Not from the clone, where Python would find folders in the place of packages.
    done = subprocess.run(
        [
            PYTHON,
            "-m",
            "pytest",
            "--rootdir",
            HERE.parents[1],
            "-p",
            "no:cacheprovider",
            HERE / "in_openenv.py",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]


@pytest.mark.skipif(find_spec("openenv") is not None, reason="OpenEnv is installed here")
def test_where_openenv_is_missing_one_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = "this needs openenv, which is not installed: pip install 'ludus[openenv]'"
    assert main(["serve", "openenv", "ludus/Arithmetic-v0", "--port", "0"]) == 1
    assert capsys.readouterr().err == f"error: {told}\n"
    with pytest.raises(UserError, match="this needs openenv, which is not installed"):
        surface("openenv")
