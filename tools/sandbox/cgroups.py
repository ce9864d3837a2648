"""Control groups: where we may create them, the kernel itself limits memory and the number of processes."""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from ludus.tools.sandbox.janitor import janitor
from ludus.tools.sandbox.limits import Limits
from ludus.tools.sandbox.owners import Owner, owned_name

ROOT = Path("/sys/fs/cgroup")


@dataclass
class Group:
    """The cgroup folders around one sandbox: none, one (version 2), or one per controller (version 1)."""

    memory: Path | None = None
    processes: Path | None = None
    _events: int = field(default=-1, repr=False)

    def limit_memory(self, beyond: int) -> None:
        """Allow this many bytes beyond current use."""
        if self.memory is None:
            return
        current, most = _MEMORY_FILES[_version(self.memory)]
        allowed = int((self.memory / current).read_text()) + beyond
        for name in most:
            with contextlib.suppress(FileNotFoundError):  # a kernel that does not count swap
                (self.memory / name).write_text("0" if name == "memory.swap.max" else str(allowed))

    def out_of_memory(self) -> int:
        """How often the kernel has killed a process in here for lack of memory."""
        if self._events < 0:
            return 0
        words = os.pread(self._events, 4096, 0).split()
        return int(words[words.index(b"oom_kill") + 1])

    def remove(self) -> None:
        """Remove the folders, once every process in them is dead."""
        if self._events >= 0:
            os.close(self._events)
            self._events = -1
        for folder in {self.memory, self.processes}:
            if folder is not None:
                _remove(folder)
        self.memory = self.processes = None


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):  # the janitor tries again when this process is dead
        folder.rmdir()
        janitor().unwatch(folder)


_MEMORY_FILES = {
    1: ("memory.usage_in_bytes", ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
    2: ("memory.current", ("memory.max", "memory.swap.max")),
}


def enclose(process: int, limits: Limits) -> Group:
    """Move a process, and whatever it starts later, into cgroups of its own, as far as permitted.

    Memory is limited later, by `limit_memory`, once the interpreter has allocated what it needs.
    """
    group = Group()
    for controllers, parent in _parents():
        if ("memory" in controllers and group.memory) or ("pids" in controllers and group.processes):
            continue
        if not os.access(parent, os.W_OK):
            continue
        folder = parent / owned_name(Owner.current(), "box")
        janitor().watch(folder)
        try:
            folder.mkdir()
        except OSError:
            janitor().unwatch(folder)
            continue
        try:
            if "pids" in controllers:
                # The server itself counts.
                (folder / "pids.max").write_text(str(limits.processes + 1))
            (folder / "cgroup.procs").write_text(str(process))
        except OSError:
            _remove(folder)
            continue
        if "memory" in controllers:
            group.memory = folder
            events = "memory.oom_control" if _version(folder) == 1 else "memory.events"
            group._events = os.open(folder / events, os.O_RDONLY | os.O_CLOEXEC)
        if "pids" in controllers:
            group.processes = folder
    return group


def own_cgroups() -> list[str]:
    """Where this process is in each hierarchy: lines `number:controllers:path`."""
    try:
        return Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []


def _version(folder: Path) -> int:
    return 2 if (folder / "memory.current").exists() else 1


def _parents() -> list[tuple[frozenset[str], Path]]:
    """Where groups may be created, and which controllers are active there."""
    parents = []
    for line in own_cgroups():
        _, names, path = line.split(":", 2)
        wanted = frozenset(names.split(",")) & {"memory", "pids"}
        if wanted:
            parents.append((wanted, ROOT / names / path.lstrip("/")))
        elif names == "":
            own = ROOT / path.lstrip("/")
            # A group that contains processes cannot limit child groups: ours go beside it, or at the top.
            for parent in dict.fromkeys((own.parent if own != ROOT else ROOT, ROOT)):
                with contextlib.suppress(OSError):
                    if {"memory", "pids"} <= set((parent / "cgroup.subtree_control").read_text().split()):
                        parents.append((frozenset({"memory", "pids"}), parent))
    return parents
