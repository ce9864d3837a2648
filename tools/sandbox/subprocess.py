"""The backend `subprocess`: resource limits and a process group, and no isolation at all."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

from ludus.tools.sandbox.backends import GUEST_ENVIRONMENT, Launched, LaunchSpec
from ludus.tools.sandbox.interpreter import GUEST, package_files
from ludus.tools.sandbox.janitor import janitor
from ludus.tools.sandbox.link import MIB
from ludus.tools.sandbox.owners import Owner, owned_name

_warned = threading.Event()


def launch(spec: LaunchSpec) -> Launched:
    """Start a fork server as a plain child process. Warns once that this isolates nothing."""
    if not _warned.is_set():
        _warned.set()
        warnings.warn(
            "the sandbox 'subprocess' isolates nothing: programs in it can read and change whatever you can. "
            "Run only programs that you would run yourself",
            RuntimeWarning,
            stacklevel=3,
        )
    root = Path(tempfile.gettempdir()) / owned_name(Owner.current(), "box")
    janitor().watch(root)
    root.mkdir(mode=0o700)
    ours, theirs = socket.socketpair()
    limits = spec.limits
    sites = sorted({str(Path(path).parent) for path in package_files(spec.packages)})
    settings = {
        "control": theirs.fileno(), "root": str(root), "mount": False, "become": None, "filter": False,
        "guarded": False, "kill_by_group": True, "own_disk": False, "spare_processes": -1,
        "disk": int(limits.disk_mb * MIB), "files": limits.files, "preload": spec.preload,
        "hide": [str(GUEST.parent)], "site": sites,
    }  # fmt: skip
    environment = {
        **GUEST_ENVIRONMENT,
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join([str(GUEST.parent), *sites]),
    }
    process = subprocess.Popen(
        [sys.executable, "-s", "-S", "-P", "-m", "guest.server", json.dumps(settings)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
        env=environment,
        start_new_session=True,
    )
    theirs.close()

    owner = os.getpid()

    def kill() -> None:
        if os.getpid() != owner:
            return  # in a fork: the sandbox belongs to the parent, which keeps using it
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(root, ignore_errors=True)
        janitor().unwatch(root)

    return Launched(ours, kill, {})
