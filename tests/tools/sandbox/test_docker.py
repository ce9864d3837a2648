"""The backend `docker`: what its containers may do, and that they leave nothing behind."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ludus.tools.errors import UserError
from ludus.tools.sandbox import Limits, Sandbox, SandboxFault, Verdict, engine
from ludus.tools.sandbox import docker as backend
from ludus.tools.sandbox.owners import Owner

QUICK = Limits(wall_s=1.5, cpu_s=1.0, memory_mb=64, processes=16, output_kb=16, disk_mb=8)
MIB = 1 << 20


def _problem() -> str | None:
    """Why there can be no containers here."""
    try:
        client = engine.connect()
    except UserError as error:
        return str(error)
    if not client.images(engine.image_name()):
        return f"the Docker engine has no image {engine.image_name()}: run `ludus sandbox build`"
    return None


@pytest.fixture(scope="module", autouse=True)
def _engine() -> None:
    if problem := _problem():
        # A named engine must work: only if none is named may its tests be skipped.
        (pytest.fail if "DOCKER_HOST" in os.environ else pytest.skip)(f"needs a Docker engine: {problem}")


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox.open("docker", limits=QUICK) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _as_new(request: pytest.FixtureRequest) -> None:
    if "box" in request.fixturenames:
        request.getfixturevalue("box").reset()


def _containers(owner: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.connect().containers(
        all=True, filters={"label": f"{backend.OWNER_LABEL}={owner}"}
    )
    return found


def _soon(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


# --- what a container may do


def test_the_engine_holds_what_was_asked_of_it(box: Sandbox) -> None:
    (container,) = (
        engine.connect().inspect_container(found["Id"]) for found in _containers(str(Owner.current()))
    )
    host = container["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["IpcMode"] == "none"
    assert host["Init"]
    assert host["PidsLimit"] == QUICK.processes + 2
    assert host["CpuQuota"] == host["CpuPeriod"]
    assert (QUICK.memory_mb + QUICK.disk_mb) * MIB < host["Memory"] < 256 * MIB
    assert host["MemorySwap"] == host["Memory"]
    assert list(host["Tmpfs"]) == ["/box"]
    assert f"size={QUICK.disk_mb * MIB},nr_inodes={QUICK.files + 8}" in host["Tmpfs"]["/box"]
    assert all(mount["RW"] is False for mount in container["Mounts"])
    assert container["Config"]["User"] == "65534:65534"
    assert container["Config"]["Hostname"] == "ludus"


def test_a_guest_is_nobody_without_rights(box: Sandbox) -> None:
    code = """
import ctypes, os, socket
prctl = ctypes.CDLL(None).prctl
print(os.getuid(), os.getgid(), os.getgroups(), socket.gethostname())
print(prctl(39, 0, 0, 0, 0), sum(prctl(23, capability, 0, 0, 0) > 0 for capability in range(64)))
"""
    result = box.run(code)
    assert result.stdout.split() == ["65534", "65534", "[65534]", "ludus", "1", "0"], result.stderr


@pytest.mark.parametrize(
    "place",
    [
        *("/proc", "/proc/self/mountinfo", "/proc/1/cmdline", "/sys", "/etc/passwd", "/etc/resolv.conf"),
        *("/ludus", "/ludus/guest/server.py", "/ludus-run", "/", "/dev", "/usr/bin/dash"),
    ],
)
def test_behind_the_fence_there_is_nothing_to_open(box: Sandbox, place: str) -> None:
    if "Landlock" not in box.isolation["files"]:
        pytest.skip("needs a kernel with Landlock")
    result = box.run(f"import os\nos.open({place!r}, os.O_RDONLY)")
    assert "PermissionError" in result.stderr


def test_there_is_no_program_to_run_but_the_interpreter(box: Sandbox) -> None:
    if "Landlock" not in box.isolation["files"]:
        pytest.skip("needs a kernel with Landlock")
    code = "import subprocess, sys\nprint(subprocess.check_output({}, text=True))"
    assert box.run(code.format("[sys.executable, '-c', 'print(5)']")).stdout == "5\n\n"
    for command in (
        ["/bin/sh", "-c", "echo 5"],
        ["/lib64/ld-linux-x86-64.so.2", "/bin/dash", "-c", "echo 5"],
    ):
        result = box.run(code.format(command))
        assert result.verdict is Verdict.RUNTIME_ERROR
        assert "5" not in result.stdout


@pytest.mark.parametrize(
    "place", ["/usr/lib/x", "/x", "/site/x", "/ludus/guest/x", "/var/tmp/x", "/dev/shm/x"]
)
def test_nothing_can_be_written_outside_the_work_directory(box: Sandbox, place: str) -> None:
    assert box.run(f"open({place!r}, 'w')").verdict is Verdict.RUNTIME_ERROR


def test_the_server_cannot_be_killed_by_its_guests(box: Sandbox) -> None:
    # On a slow machine the server has forked its decoy by now, which a guest may end: it gets another.
    code = """
import os
for process in [-1, *range(1, 60)]:
    if process not in (os.getpid(), os.getpgid(0)):
        try:
            os.kill(process, 9)
            if process in (-1, 1, os.getppid()): print('killed', process)
        except OSError:
            pass
"""
    assert box.run(code).stdout == ""
    assert box.run("print('well')").stdout == "well\n"


def test_the_kernel_ends_what_takes_too_much_memory(box: Sandbox) -> None:
    code = "import os\nhoard = []\nwhile True:\n    hoard.append(os.urandom(1 << 20))"
    result = box.run(code, limits=Limits(wall_s=5, cpu_s=5, memory_mb=10_000))  # the watch looks away
    assert result.verdict is Verdict.MEMORY_LIMIT
    assert box.run("print('well')").stdout == "well\n"


def test_files_and_their_number_are_limited(box: Sandbox) -> None:
    many = box.run("for number in range(10**6):\n    open(str(number), 'w').close()")
    assert many.verdict is Verdict.DISK_LIMIT
    box.reset()
    assert box.run("open('a', 'wb').write(bytes(20 << 20))").verdict is Verdict.DISK_LIMIT


def test_two_containers_do_not_see_each_other(box: Sandbox) -> None:
    with Sandbox.open("docker", limits=QUICK) as other:
        other.write("secret", "x")
        assert box.run("import os\nprint(os.listdir('.'), os.listdir('/tmp'))").stdout == "[] []\n"


def test_packages_of_the_image_can_be_had() -> None:
    if not _has("numpy"):
        pytest.skip("needs numpy in the image: run `ludus sandbox build --package numpy`")
    with Sandbox.open("docker", limits=QUICK, packages=["NumPy"], preload=["numpy"]) as box:
        assert box.run("import numpy\nprint(numpy.arange(3).sum())").stdout == "3\n"


def _has(package: str) -> bool:
    labels = engine.connect().inspect_image(engine.image_name())["Config"]["Labels"]
    return package in labels[engine.PACKAGES_LABEL].split(",")


# --- what cannot be had


def test_a_package_that_is_not_in_the_image_is_named_with_the_remedy() -> None:
    with pytest.raises(UserError, match=r"'no-such-thing'.*ludus sandbox build --package no-such-thing"):
        Sandbox.open("docker", packages=["no-such-thing"])


def test_without_an_image_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "image_name", lambda: "ludus-sandbox:none")
    with pytest.raises(UserError, match=r"no image ludus-sandbox:none: run `ludus sandbox build`"):
        Sandbox.open("docker")


def test_a_server_that_does_not_start_leaves_no_container() -> None:
    before = _containers(str(Owner.current()))
    with pytest.raises(UserError, match="no_such_module"):
        Sandbox.open("docker", limits=QUICK, preload=["no_such_module"])
    assert len(_containers(str(Owner.current()))) == len(before)


# --- nothing is left behind


def _folders(owner: str) -> list[str]:
    return [path.name for path in Path(tempfile.gettempdir()).iterdir() if owner in path.name]


def test_a_closed_sandbox_is_gone() -> None:
    before = {found["Id"] for found in _containers(str(Owner.current()))}
    box = Sandbox.open("docker", limits=QUICK)
    assert len(_containers(str(Owner.current()))) == len(before) + 1
    assert not _folders(str(Owner.current())), "the socket's folder outlived the connection"
    box.close()
    box.close()
    assert {found["Id"] for found in _containers(str(Owner.current()))} == before
    with pytest.raises(SandboxFault):
        box.run("print(1)")


_LOAD = """
import sys, threading
from ludus.tools.sandbox import Limits, Sandbox
from ludus.tools.sandbox.janitor import janitor
from ludus.tools.sandbox.owners import Owner
print(Owner.current(), flush=True)
limits = Limits(wall_s=5, memory_mb=64, disk_mb=8)
def work():
    while True:
        with Sandbox.open("docker", limits=limits) as box:
            for _ in range(20):
                box.run("import time; time.sleep(0.01)")
            print(janitor()._process.pid, flush=True)
            if {stay}:
                box.run("import time; time.sleep(5)")
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
threading.Event().wait()
"""


def _owner_under_load(stay: bool) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-c", _LOAD.replace("{stay}", str(stay))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize("moment", range(3))
def test_after_sigkill_of_a_busy_owner_there_is_no_container_and_no_folder(moment: int) -> None:
    process, owner = _owner_under_load(stay=False)
    assert _soon(lambda: len(_containers(owner)) > 0)
    time.sleep(random.Random(moment).uniform(0.0, 0.8))
    _kill(process)
    # Containers may still be in creation: the engine is watched until it has been quiet.
    end = time.monotonic() + 4
    quiet = _soon(
        lambda: time.monotonic() > end and not _containers(owner) and not _folders(owner), seconds=60
    )
    assert quiet, (_containers(owner), _folders(owner))


def test_an_owner_that_dies_with_its_janitor_is_cleaned_up_after_by_the_next() -> None:
    process, owner = _owner_under_load(stay=True)
    assert process.stdout is not None
    janitor = int(process.stdout.readline())
    assert _containers(owner)
    assert not {found["Names"][0][1:] for found in _containers(owner)} & set(backend.reap()), "it lives"
    os.kill(janitor, signal.SIGKILL)
    _kill(process)
    assert _containers(owner)
    mine = {found["Id"] for found in _containers(str(Owner.current()))}
    assert backend.reap()
    assert not _containers(owner)
    assert {found["Id"] for found in _containers(str(Owner.current()))} == mine
