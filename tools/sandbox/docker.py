"""The backend `docker`: a fork server in a container of the machine's Docker engine."""

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ludus.tools.errors import UserError
from ludus.tools.sandbox.backends import GUEST_ENVIRONMENT, Launched, LaunchSpec
from ludus.tools.sandbox.engine import (
    PACKAGES_LABEL,
    canonical,
    connect,
    engine_address,
    engine_errors,
    image_name,
)
from ludus.tools.sandbox.guest import landlock
from ludus.tools.sandbox.interpreter import GUEST
from ludus.tools.sandbox.janitor import janitor
from ludus.tools.sandbox.link import MIB
from ludus.tools.sandbox.owners import Owner, owned_name
from ludus.tools.sandbox.result import SandboxFault

if TYPE_CHECKING:
    import docker

OWNER_LABEL = "ludus.owner"
NOBODY = 65534
_OWN = f"uid={NOBODY},gid={NOBODY}"
START_S = 30.0
"""How long a container may take to start; an engine under load starts several at once."""
_SERVER_PROCESSES = 2
"""The container's init, and the server."""


def launch(spec: LaunchSpec) -> Launched:
    """Start a fork server in a container of its own.

    Raises:
        UserError: there is no engine on this machine, no image, or no such package in the image.
        SandboxFault: the container did not start.
    """
    if sys.platform != "linux":
        raise UserError("the sandbox 'docker' shares descriptors with its containers, which needs Linux")
    engine = connect()
    with engine_errors("the sandbox 'docker' cannot start", SandboxFault):
        _check_image(engine, spec)
        _reap_once(engine_address(), os.getpid())
        return _launch(engine, spec)


def _launch(engine: "docker.APIClient", spec: LaunchSpec) -> Launched:
    owner = Owner.current()
    name = owned_name(owner, "box")
    folder = Path(tempfile.gettempdir()) / owned_name(owner, "control")
    janitor().watch(folder)
    janitor().watch_container(engine_address(), name)
    kill = _killer(engine, name)
    try:
        with _listening(folder) as listener:
            _start_container(engine, name, owner, folder / "run", spec)
            control = _accept(listener, engine, name)
    except BaseException:
        kill()
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        janitor().unwatch(folder)
    isolation = {
        "files": "mount namespace, read-only image" + (", Landlock" if landlock.version() else ""),
        "network": "network namespace without interfaces; no network sockets",
        "processes": "process namespace; " + ("no /proc" if landlock.version() else "its /proc"),
        "users": "unprivileged user, no capabilities, no new privileges",
        "system calls": "the engine's seccomp profile and our filter",
        "memory": "cgroup",
        "process count": "cgroup",
        "disk": "own tmpfs with a size and a number of files",
    }
    beyond = int((spec.limits.memory_mb + spec.limits.disk_mb) * MIB)
    return Launched(
        control,
        kill,
        isolation,
        settle=lambda: _limit_memory(engine, name, beyond),
        out_of_memory=_memory_kills(engine, name),
        last_words=lambda: _last_words(engine, name),
    )


def _check_image(engine: "docker.APIClient", spec: LaunchSpec) -> None:
    import docker

    name = image_name()
    try:
        image = engine.inspect_image(name)
    except docker.errors.ImageNotFound:
        raise UserError(f"the Docker engine has no image {name}: run `ludus sandbox build`") from None
    labels: Mapping[str, str] = image["Config"].get("Labels") or {}
    there = labels.get(PACKAGES_LABEL, "").split(",")
    if lacking := [package for package in spec.packages if canonical(package) not in there]:
        options = " ".join(f"--package {package}" for package in spec.packages)
        raise UserError(
            f"packages: {lacking[0]!r} is not in the image {name}: run `ludus sandbox build {options}`"
        )


def _start_container(
    engine: "docker.APIClient", name: str, owner: Owner, run_folder: Path, spec: LaunchSpec
) -> None:
    limits = spec.limits
    settings = {
        "connect": "/ludus-run/control.sock", "root": "/box", "mount": False, "become": None,
        "filter": True, "guarded": True, "kill_by_group": False, "own_disk": True, "spare_processes": -1,
        "disk": int(limits.disk_mb * MIB), "files": limits.files, "preload": spec.preload,
        "hide": ["/ludus"], "site": ["/site"],
    }  # fmt: skip
    if landlock.version():  # this machine's kernel, which the container shares
        settings["fence"] = True
    host = engine.create_host_config(
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        init=True,
        ipc_mode="none",
        pids_limit=limits.processes + _SERVER_PROCESSES,
        cpu_period=100_000,
        cpu_quota=100_000,  # one processor
        tmpfs={"/box": f"size={settings['disk']},nr_inodes={limits.files + 8},mode=0755,{_OWN}"},
        binds=[f"{GUEST}:/ludus/guest:ro", f"{run_folder}:/ludus-run:ro"],
        log_config={"Type": "json-file", "Config": {"max-size": "64k"}},
    )
    engine.create_container(
        image_name(),
        ["python3", "-s", "-S", "-P", "-m", "guest.server", json.dumps(settings)],
        name=name,
        hostname="ludus",
        user=f"{NOBODY}:{NOBODY}",
        working_dir="/box",
        environment={**GUEST_ENVIRONMENT, "PYTHONPATH": "/ludus:/site"},
        labels={OWNER_LABEL: str(owner)},
        host_config=host,
    )
    engine.start(name)


@contextlib.contextmanager
def _listening(folder: Path) -> Any:
    """A socket in a folder that only this user can enter; the container sees the inner folder."""
    folder.mkdir(mode=0o700)
    (folder / "run").mkdir()
    (folder / "run").chmod(0o755)
    path = folder / "run" / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(1)
        listener.settimeout(0.25)
        yield listener


def _accept(listener: socket.socket, engine: "docker.APIClient", name: str) -> socket.socket:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            return listener.accept()[0]
        except TimeoutError:
            if not engine.inspect_container(name)["State"]["Running"]:
                raise SandboxFault(f"the container ended at once: {_last_words(engine, name)}") from None
    raise SandboxFault(
        f"the container did not connect within {START_S:.0f} s: does the Docker engine see this machine's "
        f"{tempfile.gettempdir()} (an engine in a virtual machine or outside this container does not)?"
    )


def _last_words(engine: "docker.APIClient", name: str) -> str:
    lines: list[str] = engine.logs(name, tail=5).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _killer(engine: "docker.APIClient", name: str) -> Callable[[], None]:
    lock = threading.Lock()
    done = False
    owner = os.getpid()

    def kill() -> None:
        nonlocal done
        if os.getpid() != owner:
            return  # in a fork: the sandbox belongs to the parent, which keeps using it
        with lock:
            if done:
                return
            done = True
            if _remove(engine, name):
                janitor().unwatch(name)

    return kill


def _remove(engine: "docker.APIClient", name: str) -> bool:
    """Remove a container; False if the engine is already removing it at another's request."""
    import docker

    with engine_errors(f"the container {name} could not be removed", SandboxFault):
        try:
            engine.remove_container(name, force=True, v=True)
        except docker.errors.NotFound:
            return True
        except docker.errors.APIError as error:
            if error.status_code != 409:
                raise
            return False
    return True


@lru_cache(maxsize=4)
def _reap_once(address: str, process: int) -> None:
    reap()


def reap() -> list[str]:
    """Remove the containers of owners that died together with their janitor; returns their names."""
    engine = connect()
    removed = []
    for container in engine.containers(all=True, filters={"label": OWNER_LABEL}):
        owner = Owner.parse(container["Labels"][OWNER_LABEL])
        if owner is not None and owner.is_dead():
            name = container["Names"][0].removeprefix("/")
            if _remove(engine, name):
                removed.append(name)
    return removed


def _limit_memory(engine: "docker.APIClient", name: str, beyond: int) -> None:
    """Allow this many bytes beyond what the server uses now that it has finished loading."""
    with engine_errors("the sandbox 'docker' cannot limit memory", SandboxFault):
        used = engine.stats(name, stream=False, one_shot=True)["memory_stats"]["usage"]
        engine.update_container(name, mem_limit=used + beyond, memswap_limit=used + beyond)


def _memory_kills(engine: "docker.APIClient", name: str) -> Callable[[], int]:
    """How often the kernel has killed a process of the container for lack of memory.

    The engine does not report it. The container's cgroup does, if this process can see it.
    """
    try:
        groups = Path(f"/proc/{engine.inspect_container(name)['State']['Pid']}/cgroup").read_text()
    except OSError:  # the engine is outside this process's namespace
        return lambda: 0
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        events = _EVENTS.get(controllers)
        if events is not None and (file := Path(events.format(path.lstrip("/")))).exists():
            return lambda: _kills(file)
    return lambda: 0


_EVENTS = {
    "memory": "/sys/fs/cgroup/memory/{}/memory.oom_control",
    "": "/sys/fs/cgroup/{}/memory.events",
}


def _kills(file: Path) -> int:
    try:
        words = file.read_text().split()
    except OSError:  # the container has been removed
        return 0
    return int(words[words.index("oom_kill") + 1])
