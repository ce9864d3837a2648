"""The search service in this process, its index, and episodes of `ludus/Search-v0`.

`python benchmarks/search.py` prints a table and writes `benchmarks/results/search.json`. The figures to
reach: a call at most 0.5 ms at the median, a world of 10,000 pages built in at most 3 s, a snapshot in at
most 5 ms. Every search asks for something else, so that no answer is found in a cache. The world is built in
a process and a folder of its own, from nothing, then read back from disk by another.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import gymnasium
from machine import machine

import ludus  # noqa: F401 (registers the environments)
from ludus.tools.services import connect
from ludus.tools.services.search import SearchClient, SearchService

LIMITS = {"call_ms": 0.5, "build_s": 3.0, "snapshot_ms": 5.0}
RELATIONS = (
    "headquarters",
    "founder",
    "born in",
    "winner of",
    "twin town",
    "mayor",
    "married to",
    "chief executive",
)
BUILD = """
import time; began = time.perf_counter()
from ludus.tools.services.search import encyclopedia
imported = time.perf_counter()
assert len(encyclopedia(0, 10_000).pages) >= 10_000
print(time.perf_counter() - imported)
"""


def median_ms(call: Callable[[str], object], arguments: Sequence[str]) -> float:
    samples = []
    for argument in arguments:
        began = time.perf_counter()
        call(argument)
        samples.append(time.perf_counter() - began)
    return 1e3 * statistics.median(samples)


def build_s(repeats: int) -> dict[str, float]:
    """Seconds to build the world of 10,000 pages, and to read it back; medians."""
    built, read = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for samples in (built, read):
                environment = {**os.environ, "XDG_CACHE_HOME": cache}
                done = subprocess.run(
                    [sys.executable, "-c", BUILD], env=environment, check=True, capture_output=True, text=True
                )
                samples.append(float(done.stdout))
    return {"build": statistics.median(built), "read": statistics.median(read)}


def calls_ms(count: int) -> dict[str, float]:
    """Milliseconds of each kind of call; medians."""
    service = SearchService()
    rng = random.Random(0)
    titles = rng.sample([page.title for page in service.book.pages[: service.book.entities]], 2 * count)
    ids = rng.sample([page.id for page in service.book.pages], count)
    asked = [f"{rng.choice(RELATIONS)} {title}" for title in titles[count:]]
    with connect(service) as http:
        client = SearchClient(http)
        client.search("warm up")
        every = {
            "search, a name": median_ms(client.search, titles[:count]),
            "search, a name and a relation": median_ms(client.search, asked),
            "open": median_ms(client.open, ids),
        }
    return {**every, "snapshot": median_ms(lambda _: service.snapshot(), ids)}


def episode_ms(count: int, **arguments: object) -> float:
    """Milliseconds of processor time of an episode that the oracle plays, `reset` with its proof included."""
    env = gymnasium.make("ludus/Search-v0", disable_env_checker=True, **arguments).unwrapped
    agent = env.scripted["oracle"](env, 0)  # type: ignore[attr-defined]
    env.reset(seed=count)
    began = time.process_time()
    for seed in range(count):
        observation, info = env.reset(seed=seed)
        agent.begin()
        ended = False
        while not ended:
            observation, _, terminated, truncated, info = env.step(agent.act(observation, info))
            ended = terminated or truncated
    return 1e3 * (time.process_time() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="calls of each kind, and episodes")
    parser.add_argument("--repeats", type=int, default=5, help="worlds built")
    asked = parser.parse_args()
    build = build_s(asked.repeats)
    calls = calls_ms(asked.count)
    episodes = {
        "default": episode_ms(asked.count),
        **{f"hops={hops}": episode_ms(asked.count // 4, hops=hops) for hops in (1, 2, 3, 4)},
    }
    for name, seconds in build.items():
        print(f"{name:32} {seconds:8.2f} s")
    for name, ms in calls.items():
        print(f"{name:32} {ms:8.3f} ms")
    for name, ms in episodes.items():
        print(f"{'episode, ' + name:32} {ms:8.2f} ms of one core")
    results = {
        "machine": machine("httpx", "starlette"),
        "limits": LIMITS,
        "build_s": build,
        "calls_ms": calls,
        "episodes_ms": episodes,
        "passed": {
            "calls": max(calls.values()) <= LIMITS["call_ms"],
            "build": build["build"] <= LIMITS["build_s"],
            "snapshot": calls["snapshot"] <= LIMITS["snapshot_ms"],
        },
    }
    path = Path(__file__).parent / "results" / "search.json"
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
