"""Owners of containers, cgroups and folders, none of which outlives its owner for long.

Whatever could outlive a process carries that process in its name, so that others can tell whether the owner
is dead.
"""

import contextlib
import os
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_PREFIX = "ludus"


@dataclass(frozen=True)
class Owner:
    """A process, distinguished from all others that have had or will have its number."""

    pid: int
    started: int
    """Clock ticks after boot; 0 where the system has no `/proc`."""
    boot: str
    """Which boot of the machine: eight hexadecimal digits."""
    namespace: int
    """The inode of its process namespace, in which `pid` counts."""

    @staticmethod
    def current() -> "Owner":
        """The calling process."""
        return _current(os.getpid())

    @staticmethod
    def parse(text: str) -> "Owner | None":
        """The owner whose `str` this is; None for any other text."""
        try:
            pid, started, boot, namespace = text.split(".")
            return Owner(int(pid), int(started), boot, int(namespace))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.pid}.{self.started}.{self.boot}.{self.namespace}"

    def is_dead(self) -> bool:
        """Whether this process is certainly dead. False if nobody can tell, as when it runs in another
        container."""
        here = Owner.current()
        if self.boot != here.boot:
            return True
        if self.namespace != here.namespace:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # another user's: its /proc entry may be hidden from us
        started = _started(self.pid)
        return started is not None and started != self.started


def owned_name(owner: Owner, kind: str) -> str:
    """A new name for something that `owner` must remove: `ludus-PID.STARTED.BOOT.NAMESPACE-KIND-RANDOM`."""
    return f"{_PREFIX}-{owner}-{kind}-{secrets.token_hex(6)}"


def owner_of(name: str) -> Owner | None:
    """The owner in a name made by `owned_name`; None for any other name."""
    parts = name.split("-")
    return Owner.parse(parts[1]) if len(parts) == 4 and parts[0] == _PREFIX else None


def leftovers(folder: Path) -> list[Path]:
    """What dead owners have left in a folder."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return []
    owners = {path: owner_of(path.name) for path in entries}
    return [path for path, owner in owners.items() if owner is not None and owner.is_dead()]


@lru_cache(maxsize=1)
def _current(pid: int) -> Owner:
    boot, namespace = "0" * 8, 0
    with contextlib.suppress(FileNotFoundError):  # not Linux
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        namespace = os.stat("/proc/self/ns/pid").st_ino
    return Owner(pid, _started(pid) or 0, boot, namespace)


def _started(pid: int) -> int | None:
    """When a process started; -1 if it is dead and waits for its parent; None if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may contain anything; proc(5) numbers the fields after it from 3.
    state, *fields = stat.rpartition(")")[2].split()
    return -1 if state in "ZX" else int(fields[18])
