"""What happens to sandboxes when their owner dies, is interrupted, or forks."""

import gc
import os
import signal
import subprocess
import sys
import time

import pytest

from ludus.tools.sandbox import Sandbox, SandboxFault

from .conftest import QUICK, interrupt_soon, opened

_OWNER = """
import sys, time
from ludus.tools.sandbox import Sandbox
box = Sandbox.open("process")
print("ready", flush=True)
box.run("import os, time\\nos.fork()\\ntime.sleep(60)")
"""


def test_a_killed_owner_leaves_no_process_and_no_cgroup():
    opened("process").close()
    owner = subprocess.Popen([sys.executable, "-c", _OWNER], stdout=subprocess.PIPE)
    assert owner.stdout.readline() == b"ready\n"
    time.sleep(0.1)
    inside = _descendants(owner.pid)
    assert len(inside) >= 3
    owner.kill()
    owner.wait()
    end = time.monotonic() + 10
    while time.monotonic() < end and (any(map(_is_alive, inside)) or _cgroups_of(owner.pid)):
        time.sleep(0.02)
    assert [process for process in inside if _is_alive(process)] == []
    assert _cgroups_of(owner.pid) == []


def _descendants(process):
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    children.setdefault(int(file.read().rpartition(")")[2].split()[1]), []).append(int(name))
            except OSError:
                continue
    found, waiting = [], [process]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _is_alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _cgroups_of(process):
    return [
        folder
        for folder, _, _ in os.walk("/sys/fs/cgroup")
        if os.path.basename(folder).startswith(f"ludus-{process}.")
    ]


def test_an_interrupted_run_ends_the_sandbox():
    with opened("process") as box:
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            box.run("import time; time.sleep(1)")
        assert not box.alive
        with pytest.raises(SandboxFault, match="open another"):
            box.run("print('the next one')")


def test_a_fork_that_closes_leaves_the_parent_its_sandbox():
    with opened("process") as box:
        child = os.fork()
        if child == 0:
            box.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert box.run("print(1)").stdout == "1\n"


@pytest.mark.slow
def test_an_interrupted_start_leaves_no_process():
    from ludus.tools.sandbox.process import process_mark

    opened("process").close()
    known = _marked(process_mark())  # of the sandboxes that are open all the time

    def interrupt(number, frame):
        raise KeyboardInterrupt

    def start():
        Sandbox.open("process", limits=QUICK)
        time.sleep(1)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in range(1, 40, 2):
            gc.collect()  # an interrupt inside a destructor would be lost
            signal.setitimer(signal.ITIMER_REAL, delay / 1000)
            with pytest.raises(KeyboardInterrupt):
                start()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    gc.collect()
    assert _settled(lambda: [process for process in _marked(process_mark()) if process not in known]) == []


def test_an_owner_killed_while_it_starts_sandboxes_leaves_no_process():
    opened("process").close()
    for delay in (0.0, 0.003, 0.006, 0.009, 0.012):
        owner = subprocess.Popen([sys.executable, "-c", _STARTER], stdout=subprocess.PIPE, text=True)
        mark = owner.stdout.readline().strip()
        time.sleep(delay)
        owner.kill()
        owner.wait()
        assert _settled(lambda mark=mark: _marked(mark)) == []


_STARTER = """
from ludus.tools.sandbox import Sandbox
from ludus.tools.sandbox.process import process_mark
Sandbox.open("process").close()
print(process_mark(), flush=True)
while True: Sandbox.open("process")
"""


def _marked(mark):
    """Processes with this mark in their command line, without our own search for it."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                line = file.read()
        except OSError:
            continue
        if mark.encode() in line and b"guest.server" in line and _is_alive(int(name)):
            found.append(int(name))
    return found


def _settled(look, seconds=10):
    end = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found
