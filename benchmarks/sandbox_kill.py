"""SIGKILL the owner of sandboxes under load at random moments, and look for leftovers.

    python benchmarks/sandbox_kill.py [--moments 20] [--engine unix:///path/docker.sock]

The owner opens a pool and runs programs from four threads, some of which fork and hide. It is killed between
a tenth of a second and three seconds after its start, so also while sandboxes start. At most ten seconds
later, no process, mount, cgroup, temporary file or container of its sandboxes may be left. Prints a table and
writes `benchmarks/results/sandbox-kill.json`; exits with 1 if anything is left.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

from ludus.tools.errors import UserError
from ludus.tools.sandbox import Sandbox

RESULTS = Path(__file__).parent / "results" / "sandbox-kill.json"
PATIENCE_S = 15.0
OWNER = """
import sys, threading
from ludus.tools.sandbox import SandboxPool
pool = SandboxPool(4, sys.argv[1])
programs = [
    "print(1)",
    "import os, time\\nfor _ in range(3): os.fork()\\ntime.sleep(1)",
    "open('f', 'w').write('x')",
    "import os, time\\nif os.fork() == 0:\\n  os.setsid()\\n  if os.fork() == 0: time.sleep(60)",
]
def work(number):
    while True:
        number += 1
        pool.run(programs[number % 4])
for number in range(4):
    threading.Thread(target=work, args=(number,)).start()
"""


def left(owner: int, processes: set[str], docker: bool) -> dict[str, list[str]]:
    """What is left of an owner."""
    mark = f"ludus-{owner}."
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found = {
        "processes": sorted(processes & set(started().values())),
        "mounts": [line for line in mounts if mark in line],
        "cgroups": [
            f"{folder}/{name}"
            for folder, names, _ in os.walk("/sys/fs/cgroup")
            for name in names
            if mark in name
        ],
        "files": [name for name in os.listdir(tempfile.gettempdir()) if mark in name],
        "containers": containers(mark) if docker else [],
    }
    return {kind: names for kind, names in found.items() if names}


def started() -> dict[int, str]:
    """Every process, as its number and start time, which together no other will ever have."""
    return {pid: f"{pid}@{fields[19]}" for pid, fields in statuses().items() if fields[0] not in "ZX"}


def statuses() -> dict[int, list[str]]:
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            found[int(name)] = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
    return found


def family(owner: int) -> set[str]:
    """All descendants of a stopped owner."""
    children: dict[int, list[int]] = {}
    for pid, fields in statuses().items():
        children.setdefault(int(fields[1]), []).append(pid)
    members, waiting = set(), [owner]
    while waiting:
        below = children.get(waiting.pop(), [])
        members.update(below)
        waiting += below
    known = started()
    return {known[pid] for pid in members if pid in known}


def containers(mark: str) -> list[str]:
    import docker

    engine = docker.APIClient(base_url=os.environ.get("DOCKER_HOST"))
    names = [container["Names"][0].lstrip("/") for container in engine.containers(all=True)]
    engine.close()
    return [name for name in names if name.startswith(mark)]


def trial(backend: str, moment: float) -> dict[str, Any]:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, backend])
    time.sleep(moment)
    owner.send_signal(signal.SIGSTOP)  # so that its descendants can be recorded as they are now
    processes = family(owner.pid)
    owner.kill()
    if owner.wait() != -signal.SIGKILL:
        raise SystemExit(f"the owner ended by itself with {owner.returncode}")
    begun = time.perf_counter()
    while found := left(owner.pid, processes, backend == "docker"):
        if time.perf_counter() - begun > PATIENCE_S:
            break
        time.sleep(0.05)
    seconds = time.perf_counter() - begun
    return {"moment_s": moment, "processes": len(processes), "clean_after_s": seconds, "left": found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", help="address of a Docker engine with the sandbox's image")
    arguments = parser.parse_args()
    if arguments.engine:
        os.environ["DOCKER_HOST"] = arguments.engine
    draw = random.Random(arguments.seed)
    result: dict[str, Any] = {}
    failed = False
    for backend, longest in (("process", 3.0), ("docker", 8.0)):
        try:
            Sandbox.open(backend).close()
        except UserError as error:
            result[backend] = f"not measured: {error}"
            print(f"{backend}: {error}")
            continue
        trials = []
        for _ in range(arguments.moments):
            trials.append(trial(backend, draw.uniform(0.3, longest)))
            print(f"{backend}: {json.dumps(trials[-1])}", flush=True)
        clean = sum(not trial["left"] for trial in trials)
        failed |= clean < len(trials)
        result[backend] = {"clean": clean, "of": len(trials), "trials": trials}
    RESULTS.write_text(json.dumps({**result, **machine()}, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")
    if failed:
        raise SystemExit("something was left")


if __name__ == "__main__":
    main()
