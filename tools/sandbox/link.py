"""The owner's end of a fork server: one job at a time, and every byte that comes back is counted."""

import contextlib
import fcntl
import json
import math
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ludus.tools.errors import UserError
from ludus.tools.sandbox.backends import Launched
from ludus.tools.sandbox.guest.server import ALLOWANCE
from ludus.tools.sandbox.limits import Limits
from ludus.tools.sandbox.result import SandboxFault

GRACE_S = 10.0
"""How late the server may report that a job's time is up before it counts as broken."""
MIB = 1 << 20
_EVER_S = 10**9
_CHUNK = 1 << 16


@dataclass
class Stream:
    """What arrives on a pipe, up to a limit."""

    descriptor: int
    most: int
    data: bytearray = field(default_factory=bytearray)
    overflowed: bool = False

    def take(self) -> bool:
        """Read what is available; False at the end of the stream."""
        try:
            data = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return True
        if len(self.data) + len(data) > self.most:
            self.overflowed = True
            data = data[: self.most - len(self.data)]
            self.data += data
            return True
        self.data += data
        return bool(data)

    def drain(self) -> None:
        """Read what is there, without waiting for anyone who still holds the other end."""
        while not self.overflowed:
            before = len(self.data)
            self.take()
            if len(self.data) == before:
                return


class Job:
    """A job in progress: its streams, and the owner's descriptors."""

    def __init__(self, stdout: Stream, stderr: Stream, report: Stream | None) -> None:
        self.stdout, self.stderr = stdout, stderr
        self.report = report or Stream(-1, 0)
        """Has no pipe if the job has no reports."""
        self.streams = (stdout, stderr, report) if report else (stdout, stderr)

    def close(self) -> None:
        for stream in self.streams:
            os.close(stream.descriptor)


class Link:
    """Talks to one fork server. Not thread-safe: one job at a time."""

    def __init__(self, launched: Launched) -> None:
        self.launched = launched
        self._control = launched.control
        self._control.setblocking(False)
        self._jobs: socket.socket | None = None
        self._buffer = b""
        self.dead = False

    def wait_until_ready(self, seconds: float) -> None:
        """Wait for the server's first answer.

        Raises:
            UserError: a module to preload cannot be imported.
            SandboxFault: it ended, or took too long.
        """
        try:
            self._control.send(b'{"op": "ping"}\n')
            if not select.select([self._control], [], [], seconds)[0]:
                self.kill()
                raise SandboxFault(f"the sandbox did not start within {seconds:.0f} s")
            data, descriptors, _, _ = socket.recv_fds(self._control, _CHUNK, 1)
        except ConnectionError:
            data, descriptors = b"", []
        if data and not descriptors:  # written by the server itself, before any guest
            self.kill()
            raise UserError(json.loads(data)["wrong"])
        if not descriptors:
            said = self.launched.last_words()
            self.kill()
            raise SandboxFault(f"the sandbox's server ended while it started{said and f': {said}'}")
        self._jobs = socket.socket(fileno=descriptors[0])
        try:
            self.launched.settle()
        except BaseException:
            self.kill()
            raise

    def start(
        self,
        job: dict[str, Any],
        limits: Limits,
        stdin: bytes | int = b"",
        report: int | None = 0,
        endless: bool = False,
    ) -> Job:
        """Begin a job. `stdin` is its input or a descriptor to read that from, `report` the maximum size of
        its reports in bytes (None: no reports). The clock of an `endless` job starts with `order("cell")`."""
        ours: list[int] = []
        theirs = [_sealed(_written(job))]
        theirs.append(stdin if isinstance(stdin, int) else _sealed(stdin))
        try:
            for _ in range(2 if report is None else 3):
                reader, writer = os.pipe2(os.O_CLOEXEC) if sys.platform == "linux" else os.pipe()
                os.set_blocking(reader, False)
                ours.append(reader)
                theirs.append(writer)
            if report is None:
                theirs.append(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
            self._begin(limits, theirs, endless)
        except BaseException:
            for descriptor in ours:
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        output = limits.output_kb * 1024
        reports = None if report is None else Stream(ours[2], max(output, report))
        return Job(Stream(ours[0], output), Stream(ours[1], output), reports)

    def finish(self, job: Job, seconds: float) -> dict[str, Any]:
        """Wait until the job is over; returns the server's answer.

        Raises:
            SandboxFault: the server ended or fell silent.
        """
        try:
            return self.follow(job, seconds)
        except BaseException:  # Ctrl-C too: a later job must not take the server's answer for its own
            self.kill()
            raise
        finally:
            job.close()

    def follow(self, job: Job, seconds: float, until: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """Read a job's streams until the server answers, or until `until` holds (with an empty answer)."""
        deadline = time.monotonic() + seconds + GRACE_S
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        for stream in job.streams:
            poller.register(stream.descriptor, select.POLLIN)
        by_descriptor = {stream.descriptor: stream for stream in job.streams}
        killed = False
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                self.kill()
                raise SandboxFault(f"the sandbox's server gave no answer within {seconds + GRACE_S:.0f} s")
            answered = False
            for descriptor, _ in poller.poll(left * 1000):
                if descriptor not in by_descriptor:
                    answered = self._receive()
                elif killed:
                    continue  # reported together with the one that overflowed
                elif not by_descriptor[descriptor].take():
                    poller.unregister(descriptor)
                elif by_descriptor[descriptor].overflowed:
                    killed = True
                    self._send({"op": "kill"})
                    for other in job.streams:
                        with contextlib.suppress(KeyError):
                            poller.unregister(other.descriptor)
            if answered:
                for stream in job.streams:
                    stream.drain()
                return self._next()
            if until():
                return {}

    def order(self, op: str, limits: Limits | None = None) -> None:
        """Send the server an order about the running job."""
        self._send({"op": op, **(_orders(limits) if limits else {})})

    def kill(self) -> None:
        self.dead = True
        self.launched.kill()
        self._control.close()
        if self._jobs is not None:
            self._jobs.close()

    def _begin(self, limits: Limits, descriptors: list[int], endless: bool) -> None:
        try:
            self._send({"op": "start", **_orders(limits), **({"wall": None} if endless else {})})
            # The server watches the processor time of each cell.
            self._hand_over(limits, descriptors, _EVER_S if endless else math.ceil(limits.cpu_s) + 1)
        except BaseException:
            self.kill()
            raise

    def _hand_over(self, limits: Limits, descriptors: list[int], cpu: int) -> None:
        """Give the job directly to the waiting fork, bypassing the server."""
        assert self._jobs is not None
        memory, disk = int(limits.memory_mb * MIB), int(limits.disk_mb * MIB)
        packed = ALLOWANCE.pack(cpu, memory, limits.processes, disk)
        try:
            socket.send_fds(self._jobs, [packed], descriptors)
        except OSError as error:
            self.kill()
            raise SandboxFault(f"the sandbox's next process is gone ({error})") from error

    def _send(self, message: dict[str, Any]) -> None:
        if self.dead:
            raise SandboxFault("the sandbox has ended; open another")
        try:
            self._control.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            self.kill()
            raise SandboxFault(f"the sandbox's server is gone ({error})") from error

    def _receive(self) -> bool:
        """Whether a complete answer has arrived."""
        try:
            data = self._control.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.kill()
            raise SandboxFault("the sandbox's server ended in the middle of a job")
        self._buffer += data
        return b"\n" in self._buffer

    def _next(self) -> dict[str, Any]:
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _orders(limits: Limits) -> dict[str, Any]:
    return {
        "wall": limits.wall_s,
        "cpu": limits.cpu_s,
        "memory": int(limits.memory_mb * MIB),
    }


def _written(job: dict[str, Any]) -> bytes:
    """A job as JSON.

    Raises:
        UserError: the arguments of a call are not JSON data (everything else has been checked).
    """
    try:
        return json.dumps(job).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"inputs: {error}; arguments go into a sandbox as JSON: None, booleans, numbers, texts, lists, "
            "dictionaries with texts for keys"
        ) from None


def _sealed(data: bytes) -> int:
    """A descriptor from which `data` can be read and to which nothing can be written."""
    if not data:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    if sys.platform != "linux":
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            return os.dup(file.fileno())
    descriptor = os.memfd_create("job", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
