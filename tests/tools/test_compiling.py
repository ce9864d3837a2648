"""How loops are compiling."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ludus.tools import compiling


def test_a_line_says_what_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling, "ANNOUNCED_AFTER", 0.02)
    compiling.compile_once("a test's rules", lambda: time.sleep(0.1))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    compiling.compile_once("a test's rules", lambda: time.sleep(0.3))
    assert capsys.readouterr().err.splitlines() == [
        "compiling a test's rules for this processor, once; later starts load it from the cache"
    ]
    monkeypatch.setattr(compiling, "ANNOUNCED_AFTER", 5.0)
    compiling.compile_once("a test's rules", lambda: None)
    assert capsys.readouterr().err == ""


def test_one_compiles_and_the_others_wait() -> None:
    inside: list[int] = []
    most: list[int] = []

    def use() -> None:
        inside.append(0)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(compiling.compile_once, "shared rules", use) for _ in range(4)]:
            done.result()
    assert most == [1, 1, 1, 1]


@pytest.mark.parametrize("home", ["home", "/dev/null/home"])
def test_a_read_only_install_keeps_its_cache_elsewhere(tmp_path: Path, home: str) -> None:
    """Even with a read-only home, where numba alone would refuse to compile."""
    code = (
        "import os; os.access = lambda *_: False\n"
        "from ludus.tools import compiling; print(compiling.numba.config.CACHE_DIR)"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"},
        "XDG_CACHE_HOME": str(tmp_path / home),
        "TMPDIR": str(tmp_path),
    }
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    chosen = Path(run.stdout.strip())
    assert chosen.is_dir()
    assert chosen.is_relative_to(tmp_path)


ONE_SET_OF_TYPES = """
from ludus.envs.grid.maze import draw_mazes
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.environment import PacMan
from ludus.envs.grid.pacman.vector import PacManVector

for env in (PacMan(view=2), PacMan(layout="ring")):
    env.reset(seed=0)
    env.step(1)
vector = PacManVector(600, threads=2)
vector.reset(seed=0)
vector.step(vector.action_space.sample())
vector.close()
for kernel in (rules.begin, rules.advance, rules.look, draw_mazes):
    assert len(kernel.signatures) == 1, kernel.signatures
"""


def test_each_kernel_is_compiled_for_one_set_of_types() -> None:
    """In a process of its own: other tests call kernels with arrays of their own."""
    done = subprocess.run([sys.executable, "-c", ONE_SET_OF_TYPES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
