"""What `import ludus` adds to `import gymnasium`: medians over fresh processes, alternating.

`python benchmarks/import_time.py` prints a table and writes `benchmarks/results/import_time.json`. The
project's limit is 0.3 s.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from machine import machine

PROCESSES = 15
LIMIT_SECONDS = 0.3
STATEMENTS = {
    "gymnasium": "import gymnasium",
    "gymnasium, ludus": "import gymnasium, ludus",
    "gymnasium, ludus.cli": "import gymnasium, ludus.cli",
}
TIMER = "import time; begun = time.perf_counter(); {}; print(time.perf_counter() - begun)"


def seconds(statement: str) -> float:
    """How long `statement` takes in a fresh interpreter, not counting its start."""
    command = [sys.executable, "-c", TIMER.format(statement)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    for statement in STATEMENTS.values():  # so that no process pays for a cold disk or bytecode compilation
        seconds(statement)
    samples: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(PROCESSES):
        for name, statement in STATEMENTS.items():
            samples[name].append(seconds(statement))
    medians = {name: statistics.median(values) for name, values in samples.items()}
    base = medians["gymnasium"]
    added = {name: median - base for name, median in medians.items() if name != "gymnasium"}

    print(f"{'import':<24}{'median':>9}{'added':>9}   ({PROCESSES} fresh processes each)")
    for name, median in medians.items():
        print(f"{name:<24}{median:>8.3f}s{median - base:>8.3f}s")
    result = {
        "median_seconds": medians,
        "added_seconds": added,
        "limit_seconds": LIMIT_SECONDS,
        "within_limit": added["gymnasium, ludus"] <= LIMIT_SECONDS,
        "processes": PROCESSES,
        **machine("gymnasium", "numpy", "tyro", "rich"),
    }
    out = Path(__file__).parent / "results" / "import_time.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
