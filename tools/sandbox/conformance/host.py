"""The host of the attacks: what is laid out for guests to find, and what is inspected afterwards."""

import contextlib
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ludus.tools.sandbox.owners import Owner

SECRET_VARIABLE = "LUDUS_CONFORMANCE_SECRET"
_PLACES = ("/", "/tmp", "/var/tmp", "/dev/shm")
_PATIENCE_S = 1.0
"""How long what has been killed may take to disappear."""
# A container engine mounts what containers need, ours and others'.
_ENGINE_MOUNTS = ("/overlay2/", "/overlayfs/", "/containers/", "/run/docker/", "/run/containerd/", "nsfs")


@dataclass(frozen=True)
class Facts:
    """What must be the same after an attack as before it."""

    descriptors: int
    """How many are open in this process."""
    mounts: frozenset[str]


class Host:
    """Lays out a secret (in the environment, a file, an open descriptor and this process's memory), a file
    that anybody could write, a process that could be killed, and places to connect to."""

    def __init__(self) -> None:
        self.secret = f"LUDUS-SECRET-{secrets.token_hex(8)}"
        self.folder = Path(tempfile.mkdtemp(prefix="ludus-conformance-"))
        self.precious = self.folder / "precious"
        self.content = f"{self.secret}\n".encode()
        # Only the sandbox protects what lies here.
        self.folder.chmod(0o777)
        self.precious.write_bytes(self.content)
        self.precious.chmod(0o666)
        self.open_file = os.open(self.precious, os.O_RDWR)
        os.set_inheritable(self.open_file, True)
        os.environ[SECRET_VARIABLE] = self.secret
        abstract = f"ludus-conformance-{secrets.token_hex(4)}"
        self.unix = str(self.folder / "socket")
        self.listeners = {
            "a port": _listener(socket.AF_INET, ("127.0.0.1", 0)),
            "a socket in the file system": _listener(socket.AF_UNIX, self.unix),
            "an abstract socket": _listener(socket.AF_UNIX, f"\0{abstract}"),
        }
        os.chmod(self.unix, 0o777)
        self.port: int = self.listeners["a port"].getsockname()[1]
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", self.port))
        self.abstract = abstract
        self.victim = self._victim()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.environ.pop(SECRET_VARIABLE, None)
        os.close(self.open_file)
        for listener in (*self.listeners.values(), self.datagrams):
            listener.close()
        self.victim.kill()
        self.victim.wait()
        shutil.rmtree(self.folder)

    def told(self, mark: str) -> dict[str, Any]:
        """What a guest is told: where things are, never what is in them."""
        return {
            "mark": mark, "folder": str(self.folder), "precious": str(self.precious), "port": self.port,
            "socket": self.unix, "abstract": self.abstract, "victim": self.victim.pid, "owner": os.getpid(),
        }  # fmt: skip

    def facts(self) -> Facts:
        return Facts(len(os.listdir("/proc/self/fd")), _mounts())

    def inspect(self, before: Facts, mark: str) -> list[str]:
        """What an attack left on the host, in words; all of it is removed."""
        found = []
        if processes := _waited_for(lambda: _marked_processes(mark)):
            found.append(f"{len(processes)} of its processes still live")
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        if mounts := _waited_for(lambda: sorted(_mounts() - before.mounts)):
            found.append(f"the host has another mount: {mounts[0]:.100}")
        found += self._files(mark)
        if _waited_for(lambda: [1] if self.facts().descriptors > before.descriptors else []):
            held = self.facts().descriptors
            found.append(f"the owner holds {held} descriptors, and held {before.descriptors}")
        found += self._visitors()
        if self.victim.poll() is not None:
            found.append("it killed a process of the host")
            self.victim = self._victim()
        elif _state(self.victim.pid) in "Tt":
            found.append("it stopped a process of the host")
            self.victim.send_signal(signal.SIGCONT)
        return found

    def _files(self, mark: str) -> list[str]:
        found = []
        for place in map(Path, _PLACES):
            for path in (path for path in place.iterdir() if mark in path.name):
                found.append(f"it left {path} on the host")
                _remove(path)
        for path in self.folder.iterdir():
            if path.name not in ("precious", "socket"):
                found.append(f"it left {path.name} in a folder of the host")
                _remove(path)
        if not self.precious.is_file() or self.precious.read_bytes() != self.content:
            found.append("it changed a file of the host")
            self.precious.write_bytes(self.content)
        return found

    def _visitors(self) -> list[str]:
        found = []
        for name, listener in self.listeners.items():
            while select.select([listener], [], [], 0)[0]:
                listener.accept()[0].close()
                found.append(f"it reached {name} of the host")
        while select.select([self.datagrams], [], [], 0)[0]:
            self.datagrams.recv(100)
            found.append("a datagram of its reached the host")
        return found

    def _victim(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-I", "-c", "import time; time.sleep(3600)"],
            env={SECRET_VARIABLE: self.secret},
            stdin=subprocess.DEVNULL,
        )


def owned() -> frozenset[str]:
    """Folders and cgroups with this process's name: those of all its open sandboxes."""
    name = f"ludus-{Owner.current()}-"
    found = {str(path) for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith(name)}
    for folder, folders, _ in os.walk("/sys/fs/cgroup"):
        found.update(f"{folder}/{inner}" for inner in folders if inner.startswith(name))
    return frozenset(found)


def left_behind(known: frozenset[str]) -> list[str]:
    """What still carries this process's name, beyond what is `known`, once its sandboxes are closed."""
    return sorted(_waited_for(lambda: owned() - known))


def children() -> int:
    """How many live processes are children of this one."""
    me, count = str(os.getpid()), 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            count += fields[1] == me and fields[0] not in "ZX"
    return count


def _listener(family: int, address: Any) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen()
    return listener


def _waited_for(look: Any) -> Any:
    """What `look` still finds when it has had time to disappear."""
    end = time.monotonic() + _PATIENCE_S
    while (found := look()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def _mounts() -> frozenset[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return frozenset(line for line in lines if not any(part in line for part in _ENGINE_MOUNTS))


def _marked_processes(mark: str) -> list[int]:
    """Live processes with a thread whose name is the mark, which forks inherit in any namespace."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _state(int(entry.name)) not in "ZX":
            with contextlib.suppress(OSError):
                if any(mark in path.read_text() for path in entry.glob("task/*/comm")):
                    found.append(int(entry.name))
    return found


def _stat(process: int) -> list[str]:
    """The fields of `/proc/PID/stat` (proc(5)) from the third on: state, parent, …; empty without a
    process."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _state(process: int) -> str:
    fields = _stat(process)
    return fields[0] if fields else "X"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
