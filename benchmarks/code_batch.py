"""What hostile programs cost a batch of `ludus/CodeFunction-v0`: 256 episodes, 64 at a time.

    python benchmarks/code_batch.py

A batch in which every reply is a correct solution, and one in which every tenth is hostile (endless loops,
fork bombs, floods of output, early exits, forged reports, …) take turns, each on its own tasks. Prints a
table and writes `benchmarks/results/code-batch.json`. The project's limit is 80% of the harmless batch's
throughput.
"""

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
from machine import machine

import ludus
from ludus.agents.policy import ScriptedPlayer, derive_seed
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.envs.code.function.scripted import HOSTILE, Programmer

RESULTS = Path(__file__).parent / "results" / "code-batch.json"
SPEC = EnvironmentSpec("ludus/CodeFunction-v0")
EPISODES, CONCURRENCY, EVERY, REPEATS = 256, 64, 10, 7
LIMIT = 0.8


@dataclass(frozen=True)
class Visitors:
    """Correct solutions, or hostile programs if a player's seed is in `hostile`."""

    hostile: Mapping[int, str]
    """Kinds of hostile programs, by player seed."""

    def player(self, env: gymnasium.Env[Any, Any], seed: int) -> ScriptedPlayer:
        kind = self.hostile.get(seed)
        return ScriptedPlayer(Programmer(env, writer=HOSTILE[kind]) if kind else Programmer(env))


def batch(number: int, hostile: bool) -> float:
    """Episodes per second.

    Raises:
        RuntimeError: a correct solution failed, or a hostile program succeeded.
    """
    starts = [EpisodeStart(number * EPISODES + i) for i in range(EPISODES)]
    kinds = list(HOSTILE)
    chosen = starts[::EVERY] if hostile else []
    by_seed = {
        derive_seed(start.seed, start.sample): kinds[(number + i) % len(kinds)]
        for i, start in enumerate(chosen)
    }
    begun = time.perf_counter()
    episodes = rollout(Visitors(by_seed), SPEC, starts, concurrency=CONCURRENCY)
    seconds = time.perf_counter() - begun
    outcomes = Counter((derive_seed(e.seed, e.sample) in by_seed, e.success, e.fault) for e in episodes)
    expected = Counter({(False, True, ""): EPISODES - len(chosen), (True, False, ""): len(chosen)})
    if outcomes != +expected:
        raise RuntimeError(f"(hostile, success, fault) came as {dict(outcomes)}, not as {dict(expected)}")
    return EPISODES / seconds


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    batch(0, hostile=True)
    rates: dict[str, list[float]] = {"harmless": [], "one in ten hostile": []}
    for repeat in range(REPEATS):
        for kind in sorted(rates, reverse=bool(repeat % 2)):
            number = 1 + 2 * repeat + (kind != "harmless")
            rates[kind].append(batch(number, hostile=kind != "harmless"))
    medians = {kind: statistics.median(values) for kind, values in rates.items()}
    share = medians["one in ten hostile"] / medians["harmless"]
    print(f"{'batch':<24}{'episodes/s':>12}   (median of {REPEATS} × {EPISODES}, {CONCURRENCY} at a time)")
    for kind, rate in medians.items():
        print(f"{kind:<24}{rate:>12,.0f}")
    print(f"{share:.0%} of the harmless throughput; the limit is {LIMIT:.0%}")
    result = {
        "episodes_per_second": medians,
        "each": rates,
        "share": share,
        "limit": LIMIT,
        "within_limit": share >= LIMIT,
        "episodes": EPISODES,
        "concurrency": CONCURRENCY,
        "hostile": list(HOSTILE),
        "repeats": REPEATS,
        "ludus": ludus.__version__,
        **machine("gymnasium"),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
