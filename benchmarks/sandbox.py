"""What a program in a sandbox costs: the first, a warm one, many from four threads; beside alternatives.

    python benchmarks/sandbox.py [--engine unix:///path/docker.sock]

The program is `print(1 + 1)`. "First" opens a sandbox and runs one program; "warm" is every later one, back
to back, in the same sandbox; "throughput" goes through a pool of four, each program in an emptied work
directory. The alternatives, in the same run: a fresh `python -I -c`, a fresh `python -I -c` in bubblewrap
with the same namespaces, and `docker exec` into a running container, if there is an engine (`DOCKER_HOST` or
`--engine`). Prints a table and writes `benchmarks/results/sandbox.json`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import machine

from ludus.tools.errors import UserError
from ludus.tools.sandbox import Sandbox, SandboxPool
from ludus.tools.sandbox.backends import LaunchSpec
from ludus.tools.sandbox.bubblewrap import MISSING, find_bwrap
from ludus.tools.sandbox.process import bwrap_arguments

RESULTS = Path(__file__).parent / "results" / "sandbox.json"
PROGRAM = "print(1 + 1)"
FIRST, WARM, THREADS, PROGRAMS, FRESH = 20, 3000, 4, 8000, 40


def timed(action: Callable[[], Any], times: int) -> dict[str, float]:
    """Milliseconds per action: median and 99th percentile of `times` in a row."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        action()
        taken.append((time.perf_counter() - begun) * 1000)
    taken.sort()
    return {"median": taken[times // 2], "p99": taken[min(times - 1, times * 99 // 100)], "runs": times}


def check(result: Any) -> None:
    if result.stdout != "2\n":
        raise SystemExit(f"a program failed: {result}")


def measure(backend: str) -> dict[str, Any]:
    def first() -> None:
        with Sandbox.open(backend) as box:
            check(box.run(PROGRAM))

    figures: dict[str, Any] = {"first_ms": timed(first, FIRST if backend == "process" else 5)}
    with Sandbox.open(backend) as box:
        for _ in range(100):
            box.run(PROGRAM)
        figures["warm_ms"] = timed(lambda: check(box.run(PROGRAM)), WARM)
        figures["isolation"] = box.isolation
    with SandboxPool(THREADS, backend) as pool:

        def work() -> None:
            for _ in range(PROGRAMS // THREADS):
                check(pool.run(PROGRAM))

        for _ in range(2):  # the first round opens the sandboxes
            threads = [threading.Thread(target=work) for _ in range(THREADS)]
            begun = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            figures["programs_per_s"] = PROGRAMS / (time.perf_counter() - begun)
    return figures


def fresh(command: list[str]) -> dict[str, float]:
    def run() -> None:
        done = subprocess.run(command, capture_output=True, check=True)
        if done.stdout != b"2\n":
            raise SystemExit(f"{command[0]} failed: {done}")

    return timed(run, FRESH)


def docker_exec(backend_box: Sandbox) -> dict[str, float] | None:
    """`docker exec` into the container of an open sandbox."""
    program = shutil.which("docker")
    if program is None:
        return None
    names = subprocess.run(
        [program, "ps", "--filter", "label=ludus.owner", "--format", "{{.Names}}"],
        capture_output=True,
        text=True,
    ).stdout.split()
    mine = next(name for name in names if name.startswith(f"ludus-{os.getpid()}."))
    del backend_box  # it only has to be open
    return fresh([program, "exec", mine, "python3", "-I", "-c", PROGRAM])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", help="address of a Docker engine with the sandbox's image")
    arguments = parser.parse_args()
    if arguments.engine:
        os.environ["DOCKER_HOST"] = arguments.engine
    bwrap = find_bwrap()
    if bwrap is None:
        raise UserError(MISSING)
    inner = [
        *bwrap_arguments(LaunchSpec(), os.geteuid() == 0),
        "/python/bin/python3",
        "-I",
        "-S",
        "-c",
        PROGRAM,
    ]
    figures: dict[str, Any] = {
        "fresh python -I -c": fresh([sys.executable, "-I", "-c", PROGRAM]),
        "fresh bwrap python -I -c": fresh([bwrap, *inner]),
        "process": measure("process"),
    }
    try:
        with Sandbox.open("docker") as box:
            figures["docker exec"] = docker_exec(box)
        figures["docker"] = measure("docker")
    except UserError as error:
        figures["docker"] = f"not measured: {error}"
    figures["fresh python -I -c, again"] = fresh([sys.executable, "-I", "-c", PROGRAM])
    for name, figure in figures.items():
        print(f"{name}: {json.dumps(figure)}")
    result = {**figures, "loadavg_before": os.getloadavg(), **machine()}
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
