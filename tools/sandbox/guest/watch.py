"""What the guests of a server use, read from its own view of /proc."""

from __future__ import annotations

import os
from collections import namedtuple

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


# Not a dataclass: importing `dataclasses` takes longer than all else that the server needs.
Usage = namedtuple("Usage", ["cpu_s", "memory"])
"""Seconds of processor time, and resident bytes (shared pages count once per process)."""


class Proc:
    """A descriptor on a /proc that guests do not see."""

    def __init__(self, folder: int) -> None:
        self.folder = folder
        self.base = self._memory("self", self._status("self"))
        """Bytes held by the server itself, with which every fork starts."""

    def in_namespace(self, ours: set[int]) -> list[str]:
        """All processes in this process namespace except `ours`."""
        return [name for name in os.listdir(self.folder) if name.isdigit() and int(name) not in ours]

    def in_session(self, leader: int) -> list[str]:
        """The processes of a session, where guests have no namespace of their own."""
        found = []
        for name in filter(str.isdigit, os.listdir(self.folder)):
            try:
                if int(self._status(name)[3]) == leader:
                    found.append(name)
            except (OSError, ValueError, IndexError):  # it ended meanwhile
                continue
        return found

    def usage(self, processes: list[str], seen: dict[str, float]) -> Usage:
        """What these processes use above the base, summed.

        `seen` remembers the processor time of each: the kernel forgets children that nobody waits for.
        """
        cpu, memory = 0.0, 0
        for process in processes:
            try:
                fields = self._status(process)
                own, waited_for = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
                size = self._memory(process, fields)
            except (OSError, ValueError, IndexError):  # it ended meanwhile
                continue
            seen[process] = own * _TICK
            cpu += (own + waited_for) * _TICK
            memory += max(0, size - self.base)
        return Usage(max(cpu, sum(seen.values())), memory)

    def proportional(self, processes: list[str]) -> int:
        """Resident bytes; shared pages count once in all. Slow: the kernel walks page tables for it."""
        total = 0
        for process in processes:
            try:
                text = self._read(f"{self._living(process, self._status(process))}/smaps_rollup")
                total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith(b"Pss:"))
            except (OSError, StopIteration, IndexError):  # it ended, or hides: count all it has
                try:
                    total += self._memory(process, self._status(process)) // 1024
                except (OSError, ValueError, IndexError):
                    continue
        return total * 1024

    def peak(self, process: int) -> int:
        """The peak of a process's resident bytes; 0 if it has ended."""
        try:
            lines = self._read(f"{process}/status").splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(b"VmHWM:"))
        except (OSError, StopIteration):
            return 0

    def offer_to_the_killer(self) -> None:
        """Make this process die before the server when memory runs out."""
        score = os.open("self/oom_score_adj", os.O_WRONLY, dir_fd=self.folder)
        os.write(score, b"1000")
        os.close(score)

    def _memory(self, process: str, fields: list[bytes]) -> int:
        if (living := self._living(process, fields)) != process:
            fields = self._status(living)
        return int(fields[21]) * _PAGE

    def _living(self, process: str, fields: list[bytes]) -> str:
        """The process; or another of its threads if the first has ended, since an ended thread shows no
        memory."""
        if fields[0] != b"Z" or int(fields[17]) < 2:
            return process
        threads = os.open(f"{process}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.folder)
        try:
            return f"{process}/task/{max(os.listdir(threads), key=int)}"
        finally:
            os.close(threads)

    def _status(self, process: str) -> list[bytes]:
        """The fields of `stat` (proc(5)) from the third on."""
        return self._read(f"{process}/stat").rpartition(b")")[2].split()

    def _read(self, path: str) -> bytes:
        file = os.open(path, os.O_RDONLY, dir_fd=self.folder)
        try:
            return os.read(file, 65536)
        finally:
            os.close(file)
