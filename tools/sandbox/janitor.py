"""The janitor: removes what this process leaves behind, however it dies.

A separate process (`janitor_process.py`), in a session of its own, sits on a pipe from this one. The kernel
closes the pipe when the owner dies, even by SIGKILL; then the janitor removes what was watched, and ends.
If owner and janitor die together (a power cut, a killed container), the next owner that uses the same folder
removes what they left: names made by `owners.owned_name` say who owns what.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from ludus.tools.sandbox import janitor_process
from ludus.tools.sandbox.owners import leftovers


class Janitor:
    """This process's side. The janitor starts with the first thing to watch, and restarts if killed.
    Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[str, str | None] = {}
        self._parents: set[Path] = set()
        self._pipe: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, path: Path) -> None:
        """Remove this folder, or this cgroup and its members, when this process is dead.

        Call it before making the folder, so that somebody is always there to remove it. The
        name should come from `owned_name`. The first call for a parent folder also removes what dead owners
        left there.
        """
        self._watch(str(path), None)
        if path.parent not in self._parents:
            self._parents.add(path.parent)
            for left in leftovers(path.parent):
                with self._lock:
                    self._send({"remove": str(left)})

    def watch_container(self, engine: str, name: str) -> None:
        """Remove this container when this process is dead. Call it before making the container.

        Args:
            engine: The engine's address, `unix://…`.
            name: The container's name.
        """
        self._watch(name, engine)

    def watch_processes(self, mark: str) -> None:
        """When this process is dead, end the sandbox servers with this mark in their command line. They end
        by themselves, except for one that was still being started.
        """
        if mark not in self._watched:
            self._watch(mark, None)

    def unwatch(self, what: Path | str) -> None:
        """Forget a path or a container's name: it has been removed."""
        with self._lock:
            if str(what) in self._watched:
                del self._watched[str(what)]
                self._send({"unwatch": str(what)})

    def _watch(self, what: str, engine: str | None) -> None:
        with self._lock:
            self._watched[what] = engine
            self._send(_watch_order(what, engine))

    def _send(self, order: dict[str, str]) -> None:
        try:
            if self._pipe is None:
                self._start()
            self._write(order)
        except BrokenPipeError:  # somebody killed it
            self._start()
            self._write(order)

    def _write(self, order: dict[str, str]) -> None:
        assert self._pipe is not None
        data = json.dumps(order).encode() + b"\n"
        while data:
            data = data[os.write(self._pipe, data) :]

    def _start(self) -> None:
        """Start the process, and tell it what is watched."""
        if self._pipe is not None:
            os.close(self._pipe)
        if self._process is not None:
            self._process.wait()
        importable = [place for place in sys.path if os.path.isabs(place)]
        reader, self._pipe = os.pipe()  # not inherited by programs that this process executes
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", janitor_process.__file__, json.dumps(importable)],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        os.close(reader)
        for what, engine in self._watched.items():
            self._write(_watch_order(what, engine))

    def _let_go(self) -> None:
        """Called at the end of this process: the janitor lives on, since its work only begins now."""
        if self._process is not None:
            self._process.returncode = 0  # no warning that it is still running

    def _forget(self) -> None:
        """Called in a fork: the pipe, and everything that is watched, belong to the parent."""
        if self._pipe is not None:
            os.close(self._pipe)
        if self._process is not None:
            self._process.returncode = 0  # not this process's child


def _watch_order(what: str, engine: str | None) -> dict[str, str]:
    return {"watch": what} if engine is None else {"watch": what, "engine": engine}


_janitor = Janitor()
atexit.register(lambda: _janitor._let_go())


def janitor() -> Janitor:
    """The janitor of this process."""
    return _janitor


def _before_fork() -> None:
    _janitor._lock.acquire()  # a fork while a pipe is being created would keep it open


def _after_fork_in_parent() -> None:
    _janitor._lock.release()


def _after_fork_in_child() -> None:
    global _janitor
    _janitor._forget()
    _janitor = Janitor()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
