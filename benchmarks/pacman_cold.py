"""The first Pac-Man on a machine: what compiling costs one process, and four that start together.

`python benchmarks/pacman_cold.py` prints a table and writes `benchmarks/results/pacman_cold.json`. Each row
starts with an empty cache (`cold`) or with the one that the row before left (`warm`).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine

WORKERS = 4
START = "import gymnasium, ludus; env = gymnasium.make('ludus/PacMan-v0'); env.reset(seed=0); env.step(1)"


def seconds(processes: int, cache: str) -> float:
    """The time until the last of this many fresh processes has played its first step."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    begun = time.perf_counter()
    started = [subprocess.Popen([sys.executable, "-c", START], env=environment) for _ in range(processes)]
    codes = [process.wait() for process in started]
    assert not any(codes), codes
    return time.perf_counter() - begun


def main() -> None:
    found = {}
    for processes in (1, WORKERS):
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                found[f"{processes} {state}"] = seconds(processes, cache)
    for name, took in found.items():
        print(f"{name:<10}{took:>8.2f} s")
    result = {"seconds": found, "load": os.getloadavg(), **machine("gymnasium", "numba", "numpy")}
    out = Path(__file__).parent / "results" / "pacman_cold.json"
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
