"""The janitor: when owners are killed, what they had is removed."""

import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest

from ludus.tools.sandbox.owners import Owner, owned_name

_PREAMBLE = """
import os, subprocess, sys, time
from pathlib import Path
from ludus.tools.sandbox.janitor import janitor
place = Path(sys.argv[1])
def watched(name):
    janitor().watch(place / name)
    (place / name / "inner").mkdir(parents=True)
    (place / name / "inner" / "file").write_text("x")
"""


def _owner(program: str, place: Path) -> subprocess.Popen[str]:
    """A process that owns things, once it has said so."""
    code = _PREAMBLE + program + "\nprint('ready', janitor()._process.pid, flush=True)\ntime.sleep(60)"
    return subprocess.Popen([sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True)


def _ready(process: subprocess.Popen[str]) -> int:
    """Wait until the owner is ready; its janitor's process id."""
    word, janitor = process.stdout.readline().split()
    assert word == "ready"
    return int(janitor)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


def _soon(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def _runs(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_after_sigkill_what_was_watched_is_gone_and_so_is_the_janitor(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    owner = _owner("watched('a'); watched('b'); (place / 'a' / 'link').symlink_to(place / 'mine')", tmp_path)
    process = _ready(owner)
    assert _runs(process)
    assert (tmp_path / "a").exists()
    _end(owner)
    assert _soon(lambda: [path.name for path in tmp_path.iterdir()] == ["mine"])
    assert (tmp_path / "mine" / "file").exists(), "a link was followed"
    assert _soon(lambda: not _runs(process))


def test_what_is_no_longer_watched_stays(tmp_path: Path) -> None:
    owner = _owner("watched('a'); watched('b'); janitor().unwatch(place / 'b')", tmp_path)
    _ready(owner)
    _end(owner)
    assert _soon(lambda: not (tmp_path / "a").exists())
    assert (tmp_path / "b" / "inner" / "file").exists()


def test_a_path_that_was_never_made_is_fine(tmp_path: Path) -> None:
    owner = _owner("janitor().watch(place / 'never'); watched('a')", tmp_path)
    _ready(owner)
    _end(owner)
    assert _soon(lambda: not (tmp_path / "a").exists())


def test_an_engine_that_is_gone_keeps_nothing_else(tmp_path: Path) -> None:
    owner = _owner(
        "watched('a'); janitor().watch_container(f'unix://{place}/none.sock', 'ludus-x'); watched('b')",
        tmp_path,
    )
    process = _ready(owner)
    _end(owner)
    assert _soon(lambda: not list(tmp_path.iterdir()))
    assert _soon(lambda: not _runs(process))


def test_a_killed_janitor_is_replaced_and_told_everything(tmp_path: Path) -> None:
    program = """
watched('a')
janitor()._process.kill()
janitor()._process.wait()
watched('b')
"""
    owner = _owner(program, tmp_path)
    _ready(owner)
    _end(owner)
    assert _soon(lambda: not list(tmp_path.iterdir()))


def test_a_janitor_ignores_signals_to_end_before_its_owner(tmp_path: Path) -> None:
    owner = _owner("watched('a')", tmp_path)
    janitor = _ready(owner)
    # It may not have reached its own code yet.
    assert _soon(lambda: _ignores(janitor, signal.SIGTERM))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(janitor, number)
    time.sleep(0.05)
    assert _runs(janitor)
    _end(owner)
    assert _soon(lambda: not (tmp_path / "a").exists())


def _ignores(process: int, number: int) -> bool:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    ignored = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn"))
    return bool(ignored >> (number - 1) & 1)


def test_a_fork_that_lives_on_keeps_nothing(tmp_path: Path) -> None:
    program = """
watched('a')
child = os.fork()
if child == 0:
    janitor().watch(place / 'of the child')
    (place / 'of the child').mkdir()
    (place / 'child').write_text(str(os.getpid()))
    time.sleep(60)
while not (place / 'child').exists():
    time.sleep(0.01)
"""
    owner = _owner(program, tmp_path)
    _ready(owner)
    child = int((tmp_path / "child").read_text())
    owner.kill()
    owner.wait()
    try:
        assert _soon(lambda: not (tmp_path / "a").exists())
        assert (tmp_path / "of the child").exists(), "the child lives, and has a janitor of its own"
    finally:
        os.kill(child, signal.SIGKILL)
        owner.stdout.close()
    assert _soon(lambda: not (tmp_path / "of the child").exists())


def test_what_died_together_with_its_janitor_is_removed_by_the_next_owner(tmp_path: Path) -> None:
    me = Owner.current()
    left = tmp_path / owned_name(replace(me, started=me.started - 1), "control")
    alive = tmp_path / owned_name(me, "control")
    for path in (left, alive):
        path.mkdir()
    owner = _owner("watched('a')", tmp_path)
    _ready(owner)
    try:
        assert _soon(lambda: not left.exists())
        assert alive.exists()
    finally:
        _end(owner)


@pytest.mark.skipif(
    not os.access("/sys/fs/cgroup/pids", os.W_OK), reason="needs cgroups of version 1 that can be made"
)
def test_a_cgroup_goes_with_its_members(tmp_path: Path) -> None:
    group = Path("/sys/fs/cgroup/pids") / owned_name(Owner.current(), "test")
    program = f"""
group = Path({str(group)!r})
janitor().watch(group)
(group / 'inner').mkdir(parents=True)
for folder in (group, group / 'inner'):
    sleeper = subprocess.Popen(['sleep', '60'], start_new_session=True)
    (folder / 'cgroup.procs').write_text(str(sleeper.pid))
"""
    owner = _owner(program, tmp_path)
    _ready(owner)
    members = [int(word) for file in group.rglob("cgroup.procs") for word in file.read_text().split()]
    assert len(members) == 2
    _end(owner)
    assert _soon(lambda: not group.exists())
    assert not any(map(_runs, members))


class _BusyEngine(BaseHTTPRequestHandler):
    """As a Docker engine under load: it drops a request, then creates the container late, then removes it."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[float]] = []
    removed = threading.Event()

    def do_GET(self) -> None:
        self._answer(200, {"ApiVersion": "1.44"})

    def do_DELETE(self) -> None:
        self.asked.append(time.monotonic())
        if len(self.asked) == 1:
            self.close_connection = True
        elif self.asked[-1] - self.asked[0] < 4:
            self._answer(404, {"message": f"no such container: {self.path}"})
        else:
            self._answer(204, None)
            self.removed.set()

    def _answer(self, status: int, body: object) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *words: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"


def test_an_engine_that_drops_a_request_and_creates_late_still_loses_its_container(tmp_path: Path) -> None:
    pytest.importorskip("docker")
    address = tmp_path / "engine.sock"
    with socketserver.ThreadingUnixStreamServer(str(address), _BusyEngine) as engine:
        threading.Thread(target=engine.serve_forever, daemon=True).start()
        watch = f"janitor().watch_container('unix://{address}', 'box-of-a-dead-owner')"
        process = _owner(watch, tmp_path)
        janitor = _ready(process)
        _end(process)
        assert _BusyEngine.removed.wait(30)
        assert _soon(lambda: not _runs(janitor))
        engine.shutdown()
