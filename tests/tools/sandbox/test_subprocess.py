import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ludus.tools.sandbox import Verdict
from ludus.tools.sandbox.owners import Owner

from .conftest import QUICK, opened


@pytest.fixture(scope="module")
def plain():
    with opened("subprocess") as sandbox:
        yield sandbox


def test_programs_files_and_calls(plain):
    plain.write("a.txt", "text")
    assert plain.run("print(open('a.txt').read())").stdout == "text\n"
    assert plain.call("def f(x): return x + 1", "f", [[1]]).values[0].value == 2
    plain.wipe()
    assert plain.run("import os; print(os.listdir())").stdout == "[]\n"


def test_time_is_limited(plain):
    assert plain.run("while True: pass", limits=replace(QUICK, cpu_s=0.2)).verdict is Verdict.TIME_LIMIT


def test_other_processes_of_the_machine_do_not_count(plain):
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        result = plain.run("import time; time.sleep(0.4)", limits=replace(QUICK, cpu_s=0.1))
    finally:
        busy.kill()
        busy.wait()
    assert result.verdict is Verdict.OK


def test_a_session(plain):
    with plain.session() as session:
        session.run("x = 1")
        assert session.run("x").stdout == "1\n"


def test_a_grandchild_that_hides_is_not_waited_for(plain):
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(3)
    os._exit(0)
"""
    assert plain.run(code).verdict is Verdict.OK
    assert plain.run("print(1)").stdout == "1\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("programs", [[], ["print(1)"]])
def test_a_closed_one_leaves_no_process_and_says_nothing(programs, capfd):
    before = folders()
    with opened("subprocess") as sandbox:
        (folder,) = folders() - before
        for program in programs:
            sandbox.run(program)
        assert processes(folder)
    deadline = time.monotonic() + 5
    while processes(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not processes(folder)
    assert capfd.readouterr().err == ""


def folders():
    """Those of this process's sandboxes."""
    return set(Path(tempfile.gettempdir()).glob(f"ludus-{Owner.current()}-box-*"))


def processes(folder):
    """The fork server of a folder, and the forks that wait there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in path.read_bytes():
                found.append(path.parent.name)
    return found
