"""Episodes per second of the arithmetic environments: reset with a new seed, step to the end; one process.

    python benchmarks/arithmetic.py

Prints a table and writes `benchmarks/results/arithmetic.json`. The project's limit is 40,000 episodes/s for
`ludus/Arithmetic-v0`, unwrapped, with its default arguments.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import gymnasium
from machine import machine

import ludus

RESULTS = Path(__file__).parent / "results" / "arithmetic.json"
EPISODES, REPEATS = 20_000, 5
LIMIT = 40_000
REPLY = "<think>8+7=15 5+6+1=12</think><answer>125</answer>"
CASES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "Arithmetic": ("ludus/Arithmetic-v0", {}, True),
    "Arithmetic, as gymnasium.make wraps it": ("ludus/Arithmetic-v0", {}, False),
    "Arithmetic, bare sums and differences": (
        "ludus/Arithmetic-v0",
        {"operations": ("add", "subtract"), "phrasing": "bare"},
        True,
    ),
    "Arithmetic, depth 3": ("ludus/Arithmetic-v0", {"depth": 3}, True),
    "Arithmetic, fractions": ("ludus/Arithmetic-v0", {"operations": ("divide",), "fractions": True}, True),
    "ArithmeticChallenge": ("ludus/ArithmeticChallenge-v0", {}, True),
}


def episodes_per_second(env: gymnasium.Env[Any, Any]) -> float:
    """The median over repeats, each with its own seeds."""
    rates = []
    for repeat in range(REPEATS):
        begun = time.perf_counter()
        for seed in range(repeat * EPISODES, (repeat + 1) * EPISODES):
            env.reset(seed=seed)
            ended = False
            while not ended:
                _, _, terminated, truncated, _ = env.step(REPLY)
                ended = terminated or truncated
        rates.append(EPISODES / (time.perf_counter() - begun))
    return statistics.median(rates)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rates = {}
    print(f"{'environment':<42}{'episodes/s':>12}   (median of {REPEATS} × {EPISODES})")
    for name, (id, arguments, unwrapped) in CASES.items():
        env = gymnasium.make(id, **arguments)
        rates[name] = episodes_per_second(env.unwrapped if unwrapped else env)
        print(f"{name:<42}{rates[name]:>12,.0f}")
    result = {
        "episodes_per_second": rates,
        "limit": LIMIT,
        "within_limit": rates["Arithmetic"] >= LIMIT,
        "episodes": EPISODES,
        "repeats": REPEATS,
        "ludus": ludus.__version__,
        **machine("gymnasium", "numpy"),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
