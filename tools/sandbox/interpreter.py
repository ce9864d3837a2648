"""What a guest sees of this machine: the interpreter, the system's libraries, and chosen packages."""

import os
import re
import sys
import sysconfig
from functools import cache
from importlib import metadata
from pathlib import Path

from ludus.tools.errors import UserError
from ludus.tools.extras import how_to_install

GUEST = Path(__file__).parent / "guest"


@cache
def interpreter_mounts() -> tuple[tuple[str, str], ...]:
    """The interpreter's mounts, as (path here, path in the sandbox): there it is under /python, wherever it
    is here."""
    base = Path(sys.base_prefix)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    executable = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    mounts = [(executable, "/python/bin/python3")]
    if str(base) == "/usr":
        mounts.append((f"/usr/{sys.platlibdir}/{version}", f"/python/{sys.platlibdir}/{version}"))
    else:
        mounts.append((str(base / "lib"), "/python/lib"))
    multiarch = sysconfig.get_config_var("MULTIARCH")
    narrow = [f"/lib/{multiarch}", f"/usr/lib/{multiarch}"] if multiarch else []
    wide = ["/lib", "/usr/lib"]
    for place in [*(narrow if any(map(os.path.isdir, narrow)) else wide), "/lib64", "/usr/lib64"]:
        if os.path.isdir(place):
            mounts.append((place, place))
    for place in ("/etc/ld.so.cache", "/usr/share/zoneinfo"):
        if os.path.exists(place):
            mounts.append((place, place))
    return tuple(mounts)


@cache
def covered_folders() -> tuple[str, ...]:
    """Folders in those mounts that hold other packages; guests see them as empty."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    folders = []
    for here, there in interpreter_mounts():
        for inner in (
            "site-packages",
            "dist-packages",
            f"{version}/site-packages",
            f"{version}/dist-packages",
        ):
            if there.startswith("/python/lib") and os.path.isdir(f"{here}/{inner}"):
                folders.append(f"{there}/{inner}")
    return tuple(folders)


@cache
def package_files(packages: tuple[str, ...]) -> tuple[str, ...]:
    """Files and folders in site-packages of these distributions and of their dependencies.

    Raises:
        UserError: a distribution is not installed.
    """
    found: dict[str, None] = {}
    seen: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name not in {re.sub(r"[-_.]+", "-", asked).lower() for asked in packages}:
                continue  # a requirement for other systems
            raise UserError(f"packages: {name!r} is not installed here: {how_to_install(name)}") from None
        root = Path(str(distribution.locate_file("")))
        for file in distribution.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and (root / top).exists():
                found[str(root / top)] = None
        for requirement in distribution.requires or ():
            if "extra ==" not in requirement:
                waiting.append(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    return tuple(found)
