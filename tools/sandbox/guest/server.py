"""The fork server: the first process in a sandbox. It forks a guest for each job and kills what it leaves.

It reads no program and no data of guests: a job goes straight to the fork that waits for it, on a second
socket, with an `ALLOWANCE` and five descriptors (see `program.py`): job, stdin, stdout, stderr, report. So no
guest begins with another's data in its memory. The server itself speaks JSON lines:

    → {"op": "ping"}                       ready?   ← {} and the second socket
    → {"op": "start", "wall": 2.0, "cpu": 2.0, "memory": 268435456, …}   ← {"ended": …} when all is over
    → {"op": "kill"}                       kill everything now
    → {"op": "rest"}                       a session's cell is done: stop everything   ← {"rested": …}
    → {"op": "cell", "wall": 2.0, …}       go on, for the next cell
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the enumerations, which cost 0.2 ms after a fork
import errno
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

from . import program, watch

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` would slow the start
    from typing import Any, NoReturn

_WATCH_AFTER_S, _WATCH_EVERY_S = 0.010, 0.010
_REST_EVERY_S, _REST_CPU_S = 0.250, 0.1
"""How often a session is checked between cells, and how much processor time it may use then: it is stopped,
but one of its own timers can wake it."""
ALLOWANCE = struct.Struct("4q")
"""The limits given to a waiting fork: seconds of processor time, bytes of memory, processes, bytes per
file."""
_THREAD_STACK = 8 << 20
_DECOY_BYTES = 1 << 20
_IS_LINUX = sys.platform == "linux"
if _IS_LINUX:
    from . import kernel


class Guest:
    """The running job."""

    def __init__(self, process: int, order: dict[str, Any]) -> None:
        self.process = process
        self.begun = self.cell_begun = time.monotonic()
        self.allow(order)
        self.killed: str | None = None
        self.used_before = 0.0
        self.looked = self.begun
        self.seen: dict[str, float] = {}
        """Processor time of each of its processes, dead or alive."""

    def allow(self, order: dict[str, Any]) -> None:
        self.wall, self.cpu, self.memory = order["wall"], order["cpu"], order["memory"]


class Server:
    """One control socket, one guest at a time."""

    def __init__(self, control: socket.socket, settings: dict[str, Any], proc: watch.Proc | None) -> None:
        self.control = control
        self.settings = settings
        self.proc = proc
        self.root = settings["root"]
        self.kill_by_group = settings["kill_by_group"]
        self.ours = {1, os.getpid(), os.getppid()}
        self.guest: Guest | None = None
        self.spare: int | None = None
        self.decoy: int | None = None
        self.was_full = False
        self.jobs = control
        self.buffer = b""
        self.wake, wake_writer = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_writer, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        self.free_files = os.statvfs(self.root).f_ffree
        self.places = [self.root, *(f"{self.root}/{place}" for place in program.PLACES)]
        self.mode = os.stat(self.root).st_mode & 0o777
        program.lay(self.mode)
        self.laid = self._laid()
        self.hard = _hard_limits(settings)
        self.poller = select.poll()
        self.poller.register(control, select.POLLIN)
        self.poller.register(self.wake, select.POLLIN)
        # The kernel itself protects the first process of a namespace.
        needs_guard = settings["filter"] and os.getpid() != 1
        self.guard = kernel.guard_filter((1, os.getpid())) if needs_guard else None

    def serve(self) -> None:
        """Work until the owner closes the socket."""
        while True:
            ready = {descriptor for descriptor, _ in self.poller.poll(self._patience())}
            if self.wake in ready:
                os.read(self.wake, 4096)
            if self.control.fileno() in ready and not self._listen():
                return
            self._reap()
            if self.guest is not None:
                self._watch(self.guest)

    def _patience(self) -> float | None:
        """Milliseconds until the next check of the guest."""
        if self.guest is None:
            return None
        if self.guest.wall is None:
            return _REST_EVERY_S * 1000 if self.proc is not None else None
        age = time.monotonic() - self.guest.cell_begun
        left = self.guest.wall - age
        if self.proc is not None:
            left = min(left, max(_WATCH_AFTER_S - age, _WATCH_EVERY_S if age >= _WATCH_AFTER_S else 0.0))
        return max(0.0, left) * 1000 + 0.5

    def _listen(self) -> bool:
        data = self.control.recv(65536)
        if not data:
            return False
        self.buffer += data
        while b"\n" in self.buffer:
            line, _, self.buffer = self.buffer.partition(b"\n")
            self._obey(json.loads(line))
        return True

    def _obey(self, order: dict[str, Any]) -> None:
        guest = self.guest
        if order["op"] == "start":
            assert self.spare is not None
            self.guest, self.spare = Guest(self.spare, order), None
        elif order["op"] == "ping":
            jobs, self.jobs = socket.socketpair()
            self.fork_ahead(jobs)
            socket.send_fds(self.control, [b"{}\n"], [jobs.fileno()])
            jobs.close()
        elif guest is None:
            return  # it ended while the order was in transit
        elif order["op"] == "kill":
            self._kill("asked")
        elif order["op"] == "rest":
            guest.wall = None
            self._signal_all(signal.SIGSTOP)
            if self.proc is not None:
                guest.used_before = self.proc.usage(self._members(guest), guest.seen).cpu_s
            guest.looked = time.monotonic()
            peak = self.proc.peak(guest.process) if self.proc is not None else 0
            self._answer({"rested": time.monotonic() - guest.cell_begun, "peak": peak})
        elif order["op"] == "cell":
            guest.allow(order)
            guest.cell_begun = time.monotonic()
            self._signal_all(signal.SIGCONT)

    def fork_ahead(self, owners: socket.socket | None = None) -> None:
        """Fork the next guest in advance, so that a run does not wait for it. The fork must not hold the
        owner's end of the second socket, or it would never see that end close.
        """
        self.spare = os.fork()
        if self.spare:
            return
        try:
            if owners is not None:
                owners.close()
            self._become_guest()
            program.perform()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)

    def _become_guest(self) -> None:
        _signal.set_wakeup_fd(-1)
        for number in (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGHUP):
            _signal.signal(number, _signal.SIG_DFL)
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        self._offer_to_the_killer()
        if "fence" in self.settings:
            from . import landlock

            landlock.enter(self.settings["fence"])
        os.setsid()
        packed, high, _, _ = socket.recv_fds(self.jobs, 64, 5)
        if not packed:
            os._exit(0)  # the owner has gone, perhaps with the folders: no job will come
        os.chdir(self.root + "/work")
        cpu, memory, processes, disk = ALLOWANCE.unpack(packed)
        # Above the numbers that are about to be filled.
        while min(high) < 16:
            high = [os.dup(descriptor) for descriptor in high]
        for target, descriptor in zip((4, 0, 1, 2, 3), high, strict=True):
            os.dup2(descriptor, target)
        os.closerange(5, 1024)
        for limit, most in (
            (resource.RLIMIT_CPU, cpu),
            (resource.RLIMIT_FSIZE, disk),
            (resource.RLIMIT_NPROC, processes + self.settings["spare_processes"]),
            # Page tables, which nothing counts, are 1/512 of what they map: never more than the memory.
            (resource.RLIMIT_AS, 512 * memory),
            (resource.RLIMIT_DATA, 2 * memory + _THREAD_STACK * processes + self.settings["data"]),
        ):
            if limit in self.hard:
                most = min(most, self.hard[limit])
                resource.setrlimit(limit, (most, most))
        if self.guard is not None:
            kernel.install(self.guard)

    def _fork_decoy(self) -> None:
        """Fork a child that the kernel ends before this process when memory runs out.

        A guest killed this way returns its memory a moment after it stops counting as a candidate. If memory
        is requested in that moment, the next candidate dies: the decoy, not the server.
        """
        try:
            self.decoy = os.fork()
        except OSError:
            return  # no memory or no process available: the next check tries again
        if self.decoy:
            self.ours.add(self.decoy)
            return
        try:
            _signal.set_wakeup_fd(-1)
            self._offer_to_the_killer()
            os.closerange(0, 1024)
            held = b"." * _DECOY_BYTES  # what its death frees at once
            while held:
                _signal.pause()
        finally:
            os._exit(1)

    def _decoy_is_gone(self) -> None:
        if self.decoy is not None:
            self.ours.remove(self.decoy)
            self.decoy = None

    def _offer_to_the_killer(self) -> None:
        """In a fork: be the first to die when memory runs out, before the server."""
        if _IS_LINUX and self.settings["guarded"]:
            kernel.set_dumpable(True)
        if self.proc is not None:
            self.proc.offer_to_the_killer()

    def _watch(self, guest: Guest) -> None:
        now = time.monotonic()
        if guest.wall is None:
            if now - guest.looked >= _REST_EVERY_S:
                guest.looked = now
                self._look(guest, min(guest.cpu, _REST_CPU_S))
        elif now - guest.cell_begun >= guest.wall:
            self._kill("wall")
        elif now - guest.cell_begun >= _WATCH_AFTER_S:
            self._look(guest, guest.cpu)
            if self.decoy is None and not self.kill_by_group:
                self._fork_decoy()

    def _look(self, guest: Guest, cpu: float) -> None:
        if self.proc is None:
            return
        try:
            members = self._members(guest)
            usage = self.proc.usage(members, guest.seen)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            return  # the kernel is about to kill the guest: there is no memory even to ask
        if usage.cpu_s - guest.used_before > cpu:
            self._kill("cpu")
        elif usage.memory > guest.memory and self.proc.proportional(members) > guest.memory:
            self._kill("memory")

    def _members(self, guest: Guest) -> list[str]:
        assert self.proc is not None
        return (
            self.proc.in_session(guest.process) if self.kill_by_group else self.proc.in_namespace(self.ours)
        )

    def _kill(self, reason: str) -> None:
        if self.guest is not None:
            self.guest.killed = self.guest.killed or reason
            self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        assert self.guest is not None
        try:
            if self.kill_by_group:
                os.killpg(self.guest.process, number)
            else:
                # Everything in this process namespace but us: no fork can escape it.
                os.kill(-1, number)
        except ProcessLookupError:
            pass

    def _reap(self) -> None:
        """Reap the dead; if the guest is among them, kill everything it left, and tell the owner. Only while
        a guest is known: a waiting fork may get its job, and even end, before its order is read here.
        """
        while self.guest is not None:
            try:
                process, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            if process == self.decoy:
                self._decoy_is_gone()
            elif process == self.guest.process:
                self._end(self.guest, status, used.ru_maxrss)

    def _end(self, guest: Guest, status: int, peak: int) -> None:
        seconds = time.monotonic() - guest.cell_begun
        self._signal_all(signal.SIGKILL)
        while not self.kill_by_group:  # orphans come to us only in a namespace of our own
            try:
                os.wait4(-1, 0)
            except ChildProcessError:
                break
        self.guest = None
        self._decoy_is_gone()
        if self._laid() != self.laid:
            program.lay(self.mode)
        full, dirty = self._disk()
        filled, self.was_full = full and not self.was_full, full
        self._answer(
            {
                "ended": status, "killed": guest.killed, "seconds": seconds, "filled": filled,
                "peak": peak * (1024 if _IS_LINUX else 1), "dirty": dirty,
            }
        )  # fmt: skip
        self.fork_ahead()

    def _laid(self) -> list[tuple[int, ...]] | None:
        """The type, mode and times of the folders that guests are given, through which a guest could leave a
        message for the next, or leave it nowhere to work. None for a missing folder."""
        try:
            found = [os.lstat(place) for place in self.places]
        except OSError:
            return None
        return [(status.st_mode, status.st_mtime_ns, status.st_atime_ns) for status in found]

    def _disk(self) -> tuple[bool, bool]:
        """Whether the work directory is full, and whether there is anything in it."""
        if not self.settings["own_disk"]:
            return False, any(os.listdir(f"{self.root}/{place}") for place in program.PLACES)
        disk = os.statvfs(self.root)
        # Files deleted while open are gone by now: whoever held them is dead.
        return disk.f_bavail == 0 or disk.f_ffree == 0, disk.f_ffree < self.free_files

    def _answer(self, message: dict[str, Any]) -> None:
        self.control.sendall(json.dumps(message).encode() + b"\n")


def _hard_limits(settings: dict[str, Any]) -> dict[int, int]:
    """The maximum of each resource limit of a guest; unset limits are absent. Those that are the same for
    every guest are set once, on this process.
    """
    limits = {resource.RLIMIT_NOFILE: 256, resource.RLIMIT_CORE: 0}
    if settings["filter"]:
        # Counted for all processes of a user: timers and pending signals, locked memory.
        limits |= {resource.RLIMIT_SIGPENDING: 256, resource.RLIMIT_MEMLOCK: 0}
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))
    kinds = [resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_DATA]
    if _IS_LINUX:
        kinds.append(resource.RLIMIT_AS)
    if settings["spare_processes"] >= 0:
        kinds.append(resource.RLIMIT_NPROC)
    hards = {kind: resource.getrlimit(kind)[1] for kind in kinds}
    return {kind: sys.maxsize if hard == resource.RLIM_INFINITY else hard for kind, hard in hards.items()}


def prepare(settings: dict[str, Any]) -> watch.Proc | None:
    """Set up the work directory, give up the rights needed for that, and install the filter."""
    root = settings["root"]
    proc = None
    if settings["mount"]:
        kernel.unmount(root)
        kernel.mount_tmpfs(root, f"size={settings['disk']},nr_inodes={settings['files'] + 8},mode=0755")
    if _IS_LINUX and os.path.exists("/proc/self/stat"):
        proc = watch.Proc(os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    if settings["mount"]:
        kernel.unmount("/proc")
    if (user := settings["become"]) is not None:
        os.chown(root, user, user)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        kernel.new_user_namespace()
        kernel.die_with_parent()
    for place in program.PLACES:
        os.makedirs(f"{root}/{place}", exist_ok=True)
    os.umask(0o022)
    if _IS_LINUX:
        if settings["filter"]:
            kernel.drop_capabilities()
        if not settings["kill_by_group"]:
            kernel.adopt_orphans()
        # Where guests see a /proc, it must not open this process's memory to them. Elsewhere they cannot
        # reach it (the filter kills any that try), and forks save the 0.1 ms that undoing this takes.
        kernel.set_dumpable(not settings["guarded"])
    return proc


def refuse(control: socket.socket, reason: str) -> NoReturn:
    """Tell the owner why no sandbox can start, and end."""
    control.sendall(json.dumps({"wrong": reason}).encode())
    # Read its request first: a socket that closes with unread data loses the answer too.
    control.recv(65536)
    sys.exit(1)


def main() -> None:
    settings = json.loads(sys.argv[1])
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    if "connect" in settings:
        control = socket.socket(socket.AF_UNIX)
        control.connect(settings["connect"])
    else:
        control = socket.socket(fileno=settings["control"])
    control.set_inheritable(False)
    program.ROOT = settings["root"]
    try:
        proc = prepare(settings)
    except OSError as error:
        refuse(control, f"the sandbox cannot be set up: {error}")
    if "fence" in settings:
        from . import landlock

        settings["fence"] = landlock.fence(settings["root"])
    if settings["filter"]:
        kernel.install(kernel.guest_filter())
    sys.path[:] = [place for place in sys.path if place not in settings["hide"]]
    if "PYTHONPATH" in os.environ:
        os.environ["PYTHONPATH"] = ":".join(settings["site"])
    os.environ["HOME"] = os.environ["TMPDIR"] = settings["root"] + "/tmp"
    for module in settings["preload"]:
        try:
            importlib.import_module(module)
        except Exception as error:
            refuse(control, f"preload: {module!r} cannot be imported there ({type(error).__name__}: {error})")
    # Files left by a module (matplotlib's font cache) would hide as many of a guest's files from `_disk`.
    program.empty()
    if proc is not None:
        proc = watch.Proc(proc.folder)
    settings["data"] = _data_size(proc)
    gc.collect()
    gc.freeze()
    Server(control, settings, proc).serve()


def _data_size(proc: watch.Proc | None) -> int:
    """Bytes of writable memory that every fork starts with."""
    if proc is None:
        return 1 << 30
    with open("self/statm", opener=lambda path, flags: os.open(path, flags, dir_fd=proc.folder)) as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
