"""Steps per second of the market, and what its scripted players earn.

    python benchmarks/market.py

Actions are random; finished episodes restart with a new market. Vector forms play on one thread. Prints two
tables and writes `benchmarks/results/market.json`. The project's limit is 200,000 steps/s at 1,024
environments.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from machine import machine

import ludus
from ludus.envs.conformance.episodes import play

RESULTS = Path(__file__).parent / "results" / "market.json"
SECONDS, REPEATS = 2.0, 5
SIZES = (1, 64, 256, 1024, 4096)
LIMITS = {"1024": 200_000}
IDS = ("ludus/Market-v0", "ludus/MarketChat-v0")


def steps_per_second(step: Callable[[int], Any], size: int) -> float:
    """Calls of `step(number)` per second, times the markets in each: the median over repeats."""
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
    env: Any = gymnasium.make(IDS[0]).unwrapped
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(10, size=64).tolist()

    def step(number: int) -> None:
        if env.step(actions[number])[2]:
            env.reset()

    return steps_per_second(step, 1)


def vector(size: int) -> float:
    env = gymnasium.make_vec(IDS[0], num_envs=size, threads=1)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(10, size=(64, size))
    rate = steps_per_second(lambda number: env.step(actions[number]), size)
    env.close()
    return rate


def earned(id: str, episodes: int) -> dict[str, dict[str, float]]:
    """Of each scripted player: the mean return, its standard error, and the share of successes."""
    env = gymnasium.make(id)
    made: Any = env.unwrapped
    found = {}
    for name, agent in made.scripted.items():
        player = agent(made, 0)
        returns, successes = [], []
        for seed in range(episodes):
            steps = list(play(env, player, seed))
            returns.append(sum(step.reward for step in steps))
            successes.append(steps[-1].info["success"])
        error = statistics.stdev(returns) / len(returns) ** 0.5
        found[name] = {
            "mean": statistics.fmean(returns),
            "error": error,
            "lowest": min(returns),
            "success": statistics.fmean(successes),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=200, help="of each scripted player")
    options = parser.parse_args()
    rates = {"single": single()} | {str(size): vector(size) for size in SIZES}
    print(f"{'environments':<14}{'steps/s':>12}")
    for name, rate in rates.items():
        print(f"{name:<14}{rate:>12,.0f}")
    players = {id: earned(id, options.episodes) for id in IDS}
    for id, of in players.items():
        print(f"\n{id:<22}{'mean return':>12}{'± error':>9}{'lowest':>9}{'success':>9}")
        for name, row in sorted(of.items(), key=lambda entry: -entry[1]["mean"]):
            figures = f"{row['mean']:>12.1f}{row['error']:>9.1f}{row['lowest']:>9.1f}{row['success']:>9.1%}"
            print(f"{name:<22}{figures}")
    result = {
        "steps_per_second": rates,
        "limits": LIMITS,
        "within_limits": all(rates[name] >= limit for name, limit in LIMITS.items()),
        "episodes": options.episodes,
        "players": players,
        "ludus": ludus.__version__,
        **machine("gymnasium", "numpy", "numba"),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
