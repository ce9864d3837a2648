"""The backend `process`: a fork server in bubblewrap's namespaces, on Linux."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ludus.tools.errors import UserError
from ludus.tools.sandbox import cgroups
from ludus.tools.sandbox.backends import GUEST_ENVIRONMENT, Launched, LaunchSpec
from ludus.tools.sandbox.bubblewrap import MISSING, find_bwrap, why_no_namespaces
from ludus.tools.sandbox.guest.kernel import SUPPORTED
from ludus.tools.sandbox.interpreter import GUEST, covered_folders, interpreter_mounts, package_files
from ludus.tools.sandbox.janitor import janitor
from ludus.tools.sandbox.link import MIB
from ludus.tools.sandbox.owners import Owner
from ludus.tools.sandbox.result import SandboxFault

NOBODY = 65534
_DEVICES = ("null", "zero", "full", "random", "urandom")
_ENVIRONMENT = {
    **GUEST_ENVIRONMENT,
    "PATH": "/python/bin",
    "LD_LIBRARY_PATH": "/python/lib",
    "PYTHONHOME": "/python",
    "PYTHONPATH": "/ludus:/site",
}


def launch(spec: LaunchSpec) -> Launched:
    """Start a fork server in namespaces of its own.

    Raises:
        UserError: bubblewrap is missing or may not make namespaces here.
    """
    if sys.platform != "linux" or os.uname().machine not in SUPPORTED:
        raise UserError("the sandbox 'process' needs Linux on x86-64 or arm64; use LUDUS_SANDBOX=docker")
    program = find_bwrap()
    if program is None:
        raise UserError(f"the sandbox 'process' cannot start: {MISSING}")
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    # As objects they are closed exactly once, even on Ctrl-C.
    info, told = os.fdopen(reader), os.fdopen(writer, "wb")
    errors = os.fdopen(os.memfd_create("errors", os.MFD_CLOEXEC), "rb")
    limits = spec.limits
    as_root = os.geteuid() == 0
    settings = {
        "control": theirs.fileno(), "root": "/box", "mount": True, "become": NOBODY if as_root else None,
        "filter": True, "guarded": False, "kill_by_group": False, "own_disk": True, "spare_processes": 1,
        "disk": int(limits.disk_mb * MIB), "files": limits.files, "preload": spec.preload,
        "hide": ["/ludus"], "site": ["/site"], "mark": process_mark(),
    }  # fmt: skip
    command = [program, *bwrap_arguments(spec, as_root), "--info-fd", str(writer)]
    command += ["/python/bin/python3", "-s", "-S", "-P", "-m", "guest.server", json.dumps(settings)]
    janitor().watch_processes(process_mark())
    start = _Start(command, (theirs.fileno(), writer), errors.fileno())
    try:
        process = _spawn(start)
        told.close()
        said = info.read()
    except BaseException:
        # Ctrl-C: only once it has started may descriptors be closed and their numbers reused.
        start.abandon()
        raise
    finally:
        theirs.close()
        told.close()
        info.close()
    if not said:
        process.wait()
        ours.close()
        with errors:
            errors.seek(0)
            complaint = errors.read(2000).decode(errors="replace").strip()
        raise UserError(
            f"the sandbox 'process' cannot start: {complaint or 'bubblewrap said nothing'}: "
            f"{why_no_namespaces()}; or use LUDUS_SANDBOX=docker"
        )
    errors.close()
    first = json.loads(said)["child-pid"]
    try:
        group = cgroups.enclose(first, limits)
        kill = _killer(process, first, group)
    except BaseException:
        _abandon(process)
        raise
    isolation = {
        "files": "mount namespace, own root",
        "network": "network namespace without interfaces; no network sockets",
        "processes": "process namespace; no /proc",
        "users": "user namespace, no capabilities",
        "system calls": "seccomp filter",
        "memory": "cgroup" if group.memory else "watched every 10 ms",
        "process count": "cgroup" if group.processes else "rlimit in the user namespace",
        "disk": "own tmpfs with a size and a number of files",
    }
    beyond = int((limits.memory_mb + limits.disk_mb) * MIB)
    return Launched(ours, kill, isolation, lambda: group.limit_memory(beyond), group.out_of_memory)


def process_mark() -> str:
    """A mark in the command line of each bubblewrap and server of this process."""
    return f"ludus-{Owner.current()}-server"


def _abandon(process: "subprocess.Popen[bytes]") -> None:
    """End a bubblewrap that is still starting. Its child asks only later to die with its parent, so the child
    is killed first.
    """
    process.send_signal(signal.SIGSTOP)
    # Until it has stopped, it may still be creating that child.
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.wait()


def bwrap_arguments(spec: LaunchSpec, as_root: bool) -> list[str]:
    arguments = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--hostname", "ludus", "--as-pid-1", "--die-with-parent", "--new-session", "--clearenv"]
    if as_root:
        # Root mounts what only root may read; the server then becomes `nobody`, in its own user namespace.
        arguments += ["--cap-drop", "ALL"]
        for capability in ("SYS_ADMIN", "SETUID", "SETGID", "SETPCAP", "CHOWN"):
            arguments += ["--cap-add", f"CAP_{capability}"]
    else:
        arguments += ["--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY)]
        arguments += ["--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP"]
    for name, value in _ENVIRONMENT.items():
        arguments += ["--setenv", name, value]
    mounts = [*interpreter_mounts(), (str(GUEST), "/ludus/guest")]
    mounts += [(path, f"/site/{Path(path).name}") for path in package_files(spec.packages)]
    # Folders that bubblewrap creates along the way are open to its own user only, not to guests.
    folders = {str(parent) for _, there in mounts for parent in Path(there).parents} - {"/"}
    for folder in sorted(folders | {"/dev", "/site"}):
        arguments += ["--perms", "0755", "--dir", folder]
    for here, there in mounts:
        arguments += ["--ro-bind", here, there]
    for folder in covered_folders():
        arguments += ["--tmpfs", folder, "--remount-ro", folder]
    for device in _DEVICES:
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    arguments += ["--proc", "/proc", "--tmpfs", "/box", "--symlink", "/box/tmp", "/tmp"]
    return [*arguments, "--symlink", "/box/shm", "/dev/shm", "--remount-ro", "/"]


def _killer(process: "subprocess.Popen[bytes]", first: int, group: cgroups.Group) -> Callable[[], None]:
    try:
        handle = os.pidfd_open(first)
    except ProcessLookupError:
        handle = -1
    lock = threading.Lock()
    owner = os.getpid()

    def kill() -> None:
        nonlocal handle
        if os.getpid() != owner:
            return  # in a fork: the sandbox belongs to the parent, which keeps using it
        with lock:
            if handle < 0:
                return
            # When the first process of a namespace dies, so do all the others.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
            handle = -1
            process.wait()
            group.remove()

    return kill


@dataclass
class _Start:
    """A bubblewrap to be started, and the outcome. It is stored here, since Ctrl-C just before an assignment
    would lose a call's result.
    """

    command: list[str]
    descriptors: tuple[int, ...]
    errors: int
    process: "subprocess.Popen[bytes] | None" = None
    problem: OSError | None = None
    over: "queue.SimpleQueue[None]" = field(default_factory=queue.SimpleQueue)
    """Gets one item at the end. (An event's `wait` does not survive a badly timed Ctrl-C.)"""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _begun: bool = False
    _abandoned: bool = False

    def perform(self) -> None:
        with self._lock:
            if self._abandoned:
                return
            self._begun = True
        try:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=self.errors,
                stderr=self.errors,
                pass_fds=self.descriptors,
                cwd="/",
            )
        except OSError as error:
            self.problem = error
        self.over.put(None)

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if not self._begun:
                return
        while self.process is None and self.problem is None:
            time.sleep(0.001)  # the item may have been taken already
        if self.process is not None:
            _abandon(self.process)


class _Spawner:
    """The thread that starts every bubblewrap: each dies with the thread that started it, so this one must
    live as long as the process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.starts: queue.SimpleQueue[_Start] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="ludus-sandbox-spawner", daemon=True).start()

    def _work(self) -> None:
        while True:
            self.starts.get().perform()


_spawner: _Spawner | None = None
_spawner_lock = threading.Lock()


def _spawn(start: _Start) -> "subprocess.Popen[bytes]":
    global _spawner
    with _spawner_lock:
        if _spawner is None or _spawner.process != os.getpid():
            _spawner = _Spawner()
        spawner = _spawner
    spawner.starts.put(start)
    start.over.get()
    if start.process is None:
        raise SandboxFault(f"bubblewrap did not start: {start.problem}") from start.problem
    return start.process
