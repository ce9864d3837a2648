"""Resolves all that is ever installed together, for each supported Python, from the package index alone.

As on a machine where nobody has set pip up: no other index, no local wheels, no caps. Nothing is installed.
The installation must resolve, and `constraints.txt` must pin every package of it. Where there is an
interpreter of that version, it evaluates the markers; elsewhere the running one does.
"""

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from extra import APART, GROUPS, requirements

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
VERSIONS = ("3.11", "3.12", "3.13")
KEPT = ("PIP_CERT", "PIP_PROXY", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "PIP_CACHE_DIR")
"""How the index is reached; whatever else is set for pip is left out."""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        if pip(sys.executable, "download", "--no-deps", "--dest", folder, "wheel").returncode:
            print("nothing was resolved: the package index is not reached from here")
            return 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for found in pool.map(problems_for, VERSIONS) for problem in found]
    print(*problems, sep="\n", end="")
    return 1 if problems else 0


def problems_for(version: str) -> list[str]:
    """What is wrong with the installation for this Python."""
    own = f"python{version}"
    has_own = pip(own, "--version").returncode == 0
    wanted = [r for group in GROUPS if group not in APART for r in requirements(group)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = pip(
            own if has_own else sys.executable, "install", "--quiet", "--dry-run", "--ignore-installed",
            "--only-binary=:all:", "--python-version", version, "--target", folder, "--report", str(report),
            "--constraint", str(CONSTRAINTS), *wanted,
        )  # fmt: skip
        if done.returncode:
            return [f"Python {version}: {line}" for line in done.stderr.splitlines() if line.strip()]
        names = {normalised(item["metadata"]["name"]) for item in json.loads(report.read_text())["install"]}
    print(f"Python {version}: {len(names)} packages, markers of {own if has_own else 'the running Python'}")
    pinned = {
        normalised(line.split("==")[0]) for line in CONSTRAINTS.read_text().splitlines() if "==" in line
    }
    return [f"Python {version}: constraints.txt does not pin {name}" for name in sorted(names - pinned)]


def pip(python: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """pip with nobody's settings; with pyenv, `pythonX.Y` exists for the version that is asked for."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment["PYENV_VERSION"] = python.removeprefix("python")
    command = [python, "-m", "pip", *arguments]
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def normalised(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
