"""The main job as it was at an earlier commit, and as it is: seconds, and success on held-out tasks.

    python benchmarks/before.py COMMIT [--seeds 10 11 12] [--workers 2] [--folder runs/before]

Both train `configs/arithmetic.toml` from scratch, with the same seeds and steps, one run after the other,
each in a fresh process, from a clone of its own and with the packages installed here. A finished run is read
instead of trained again. Prints a table and writes `benchmarks/results/before.json`. The project's
figure: half of the time or less, for the same success (the intervals over seeds overlap).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from learning import over_seeds
from machine import machine

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "arithmetic.toml"
OUT = HERE / "results" / "before.json"
PROGRAM = """
import json, sys
from ludus.trainers.config.reading import load_config
from ludus.trainers.run.job import train
config, run, overrides = sys.argv[1:]
train(load_config(config, json.loads(overrides)), run)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/before"))
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {"before": [], "now": []}
    with tree(arguments.commit) as before, tree("HEAD") as now:
        for seed in arguments.seeds:
            for name, installed, more in (
                ("before", before, {}),
                ("now", now, {"run.workers": str(arguments.workers)}),
            ):
                run = arguments.folder.resolve() / f"{name}-{seed}"
                found[name].append(trained(installed, run, {"run.seed": str(seed), **more}))
                print(f"{name:<8} seed {seed}  {told(found[name][-1])}", flush=True)
    summary = {
        name: {
            "seconds": fmean(run["seconds"] for run in runs),
            "success": over_seeds([run["final"]["value"] for run in runs]),
        }
        for name, runs in found.items()
    }
    share = summary["now"]["seconds"] / summary["before"]["seconds"]
    print(f"now, by {arguments.workers} workers, takes {share:.2f} of the time before")
    result = {
        "commit": arguments.commit,
        "workers": arguments.workers,
        "share": share,
        "reached": share <= 0.5,
        "summary": summary,
        "runs": found,
        **machine("torch", "transformers"),
    }
    OUT.write_text(json.dumps(result, indent=1) + "\n")


def told(run: dict[str, Any]) -> str:
    stages = " → ".join(f"{run[stage]['value']:.3f}" for stage in ("primed", "final"))
    return f"{run['seconds']:.0f} s  success {stages} [{run['final']['low']:.3f}, {run['final']['high']:.3f}]"


@contextmanager
def tree(commit: str) -> Iterator[Path]:
    """A commit's packages, laid out as they are installed."""
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "ludus"
        subprocess.run(["git", "clone", "--quiet", str(HERE.parent), str(clone)], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=clone, check=True)
        subprocess.run(["make", "--silent", "tree"], cwd=clone, check=True)
        yield clone / "build" / "tree"


def trained(installed: Path, run: Path, overrides: dict[str, str]) -> dict[str, Any]:
    """A run's seconds, imports included, and success before and after."""
    took = run.parent / f"{run.name}.seconds"
    if not took.exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", PROGRAM, str(CONFIG), str(run), json.dumps(overrides)]
        began = time.perf_counter()
        subprocess.run(command, check=True, cwd=installed)
        took.write_text(str(time.perf_counter() - began))
    summaries = json.loads((run / "evaluation.json").read_text())
    success = {stage: summaries[stage]["success"] for stage in ("primed", "final")}
    return {"seconds": float(took.read_text()), **success}


if __name__ == "__main__":
    main()
