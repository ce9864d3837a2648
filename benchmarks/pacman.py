"""Environment steps per second of Pac-Man on a 31×28 maze with four ghosts and whole-grid observations.

    python benchmarks/pacman.py --envpool-python /path/to/venv/bin/python

EnvPool's `Jumanji/PacMan-v1` runs beside it in its own environment (`pip install envpool`); without the
option it is left out. Actions are random; finished episodes restart with a new maze. Prints a table and
writes `benchmarks/results/pacman.json`. The project's limits are 2,000,000 steps/s at 1,024 environments and
100,000 steps/s for the single one, unwrapped.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "pacman.json"
SECONDS, REPEATS = 2.0, 5
MAZE = {"rows": 31, "columns": 28, "ghosts": 4}
SIZES = (1, 64, 256, 1024, 4096)
PEER_SIZES = (1, 256, 1024)
LIMITS = {"single": 100_000, "1024": 2_000_000}


def steps_per_second(step: Callable[[int], Any], size: int) -> float:
    """Calls of `step(number)` per second, times the games in each: the median over repeats."""
    for number in range(8):
        step(number)
    rates = []
    for _ in range(REPEATS):
        calls, begun = 0, time.perf_counter()
        while (passed := time.perf_counter() - begun) < SECONDS / REPEATS:
            step(calls % 64)
            calls += 1
        rates.append(calls * size / passed)
    return statistics.median(rates)


def single() -> float:
    import gymnasium

    import ludus  # noqa: F401 (registers the environments)

    env = gymnasium.make("ludus/PacMan-v0", **MAZE).unwrapped
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(4, size=64).tolist()

    def step(number: int) -> None:
        _, _, terminated, truncated, _ = env.step(actions[number])
        if terminated or truncated:
            env.reset()

    return steps_per_second(step, 1)


def vector(size: int) -> float:
    import gymnasium

    import ludus  # noqa: F401 (registers the environments)

    env = gymnasium.make_vec("ludus/PacMan-v0", num_envs=size, **MAZE)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(4, size=(64, size))
    rate = steps_per_second(lambda number: env.step(actions[number]), size)
    env.close()
    return rate


def envpool(size: int) -> float:
    """Runs in EnvPool's own environment."""
    import envpool

    env = envpool.make_gymnasium("Jumanji/PacMan-v1", num_envs=size, seed=0)
    env.reset()
    actions = np.random.default_rng(0).integers(5, size=(64, size))
    return steps_per_second(lambda number: env.step(actions[number]), size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envpool-python", help="the interpreter of an environment with envpool in it")
    parser.add_argument("--measure-envpool", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure_envpool:
        import envpool as package

        print(
            json.dumps(
                {"version": package.__version__, "rates": {size: envpool(size) for size in PEER_SIZES}}
            )
        )
        return

    from machine import machine

    import ludus

    rates = {"single": single()} | {str(size): vector(size) for size in SIZES}
    peer: dict[str, Any] = {"version": None, "rates": {}}
    if options.envpool_python:
        command = [options.envpool_python, __file__, "--measure-envpool"]
        peer = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
    print(f"{'environments':<14}{'Ludus, steps/s':>16}{'EnvPool, steps/s':>18}{'times':>8}")
    for name, rate in rates.items():
        theirs = peer["rates"].get(name)
        columns = f"{theirs:>18,.0f}{rate / theirs:>8,.0f}" if theirs else ""
        print(f"{name:<14}{rate:>16,.0f}{columns}")
    result = {
        "steps_per_second": rates,
        "envpool_steps_per_second": peer["rates"],
        "envpool": peer["version"],
        "limits": LIMITS,
        "within_limits": all(rates[name] >= limit for name, limit in LIMITS.items()),
        "maze": MAZE,
        "ludus": ludus.__version__,
        **machine("gymnasium", "numpy", "numba"),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
