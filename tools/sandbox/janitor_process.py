"""The process that outlives an owner and cleans up after it, even after SIGKILL. See `janitor.py`.

It reads a pipe whose other end only its owner holds. Each line is an order:

    {"watch": PATH}      remove this when the owner is dead: a folder, or a cgroup after killing its members
    {"remove": PATH}     remove this now
    {"watch": NAME, "engine": URL}      remove this container from this engine when the owner is dead
    {"watch": MARK}      end the sandboxes that have this (not a path) in their command line
    {"unwatch": PATH or NAME}           it has been removed

At the end of the file the owner is dead: everything watched is removed, and this process ends. It uses
only the standard library, so that it costs little while its owner lives; the Docker SDK is loaded, from the
owner's `sys.path` (the only argument), when there are containers to remove.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_PATIENCE_S = 10.0
"""How long the members of a cgroup have to die."""
_STARTING_S = 1.0
"""How long a bubblewrap whose owner has died may still be starting."""
_LATE_S = 20.0
"""How long an engine may still be creating a container that a dead owner asked for."""
_ENGINE_S = 120.0
"""How long a busy engine has to remove what is there."""
_ANSWER_S = 30
"""How long one request to an engine may take; then it is made again."""


def main() -> None:
    """Follow orders from stdin until it closes, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends after its owner, not before
    watched: dict[str, str | None] = {}
    for line in sys.stdin:
        order = json.loads(line)
        if "watch" in order:
            watched[order["watch"]] = order.get("engine")
        elif "unwatch" in order:
            watched.pop(order["unwatch"], None)
        else:
            remove(Path(order["remove"]))
    # The last made is removed first: it may be inside something made earlier.
    for what in reversed([what for what, engine in watched.items() if engine is None]):
        if what.startswith("/"):
            remove(Path(what))
        else:
            end_processes(what)
    # Last, since an engine may not answer.
    for engine in {engine for engine in watched.values() if engine is not None}:
        remove_containers(engine, [name for name, where in watched.items() if where == engine])


def remove(path: Path) -> None:
    """Remove a folder, or a cgroup with its members, if it exists."""
    if (path / "cgroup.procs").exists():
        _remove_cgroup(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


def end_processes(mark: str) -> None:
    """End every sandbox whose command line has this mark, including those that are just starting."""
    end = time.monotonic() + _STARTING_S
    while True:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _is_marked(entry, mark.encode()):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(entry.name), signal.SIGKILL)
        if time.monotonic() > end:
            return
        time.sleep(0.05)


def _is_marked(process: Path, mark: bytes) -> bool:
    try:
        line = (process / "cmdline").read_bytes()
    except OSError:  # it has ended
        return False
    return mark in line and b"guest.server" in line


def _remove_cgroup(path: Path) -> None:
    groups = [Path(folder) for folder, _, _ in os.walk(path, topdown=False)]
    end = time.monotonic() + _PATIENCE_S
    while groups and time.monotonic() < end:
        for group in groups:
            _kill_members(group)
        groups = [group for group in groups if not _removed(group)]
        if groups:
            time.sleep(0.01)


def _kill_members(group: Path) -> None:
    try:
        members = (group / "cgroup.procs").read_text().split()
    except OSError:  # removed by somebody else
        return
    for member in members:
        try:
            os.kill(int(member), signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # its members are still dying
        return False
    return True


def remove_containers(engine: str, names: Sequence[str]) -> None:
    """Remove containers, including those that the engine, if it is there, is still creating."""
    sys.path[:] = json.loads(sys.argv[1])  # until here, only the standard library could be imported
    import docker
    import requests

    begun = time.monotonic()
    late, end = begun + _LATE_S, begun + _ENGINE_S
    client: docker.APIClient | None = None
    left = list(names)
    socket = Path(engine.removeprefix("unix://"))
    while left and socket.exists() and time.monotonic() < end:
        for name in list(left):
            try:
                client = client or docker.APIClient(base_url=engine, version="auto", timeout=_ANSWER_S)
                client.remove_container(name, force=True, v=True)
                left.remove(name)
            except docker.errors.NotFound:
                if time.monotonic() > late:
                    left.remove(name)
            # Somebody else is removing it, or the engine is too busy to answer: ask again.
            except (docker.errors.DockerException, requests.RequestException):
                continue
        time.sleep(0.1)


if __name__ == "__main__":
    main()
