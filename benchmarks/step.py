"""A GRPO step of the main job, end to end: Ludus by one and by two workers, and TRL.

    python benchmarks/step.py [--trl-python /path/to/venv/bin/python] [--steps 12] [--model FOLDER]

TRL runs in its own environment (`pip install torch==2.13.0 trl==1.16.0 datasets`); without the option it is
left out. All begin with the same primed model (`configs/arithmetic.toml`, or the one in FOLDER) and play the
same tasks: groups and their size as in the file, at most 48 tokens, one thread a process (TRL besides with
two). Each contestant is a fresh process, alone on the machine. A step is rollout and update; the figure is
the median over the steps after the first two. TRL gets the batch size with which it is fastest. Prints a
table and writes `benchmarks/results/step.json`. The project's figures: at most 0.45 of TRL's time with one
thread by one worker, at most 0.25 by two.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean, median
from typing import Any

from beside_trl import lay_out, train_by_trl
from machine import machine

from ludus.trainers.config.reading import load_config
from ludus.trainers.run.job import train

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "arithmetic.toml"
OUT = HERE / "results" / "step.json"
SEED = 40
WARM_UP = 2
BATCHES = (256, 64)
"""Rows of one of TRL's forward passes."""
PEER = "TRL, 1 thread"
LIMITS = {"1 worker": 0.45, "2 workers": 0.25}
"""Of the peer's time."""
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
    parser.add_argument("--trl-python", type=Path, help="interpreter of TRL's environment")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--model", type=Path, help="a primed model; by default one is primed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = arguments.model or primed(folder / "primed")
        steps: dict[str, dict[str, Any]] = {}
        for workers in (1, 2):
            steps[f"{workers} worker{'s' * (workers > 1)}"] = by_ludus(
                folder, model, workers, arguments.steps
            )
        if arguments.trl_python:
            config = load_config(CONFIG, settings(model, arguments.steps))
            lay_out(folder, config, model, r"<answer>\s*(-?\d+)\s*</answer>")
            for threads in (1, 2):
                timed = [by_trl(folder, arguments.trl_python, threads, batch) for batch in BATCHES]
                steps[f"TRL, {threads} thread{'s' * (threads > 1)}"] = min(
                    timed, key=lambda row: row["seconds"]
                )
    peers = {name: row["seconds"] for name, row in steps.items() if name.startswith("TRL")}
    for name, row in steps.items():
        row["of"] = {peer: row["seconds"] / seconds for peer, seconds in peers.items() if peer != name}
        parts = "".join(f"  {part} {row[part]:.2f} s" for part in ("rollout", "train") if part in row)
        ratios = "".join(f"  {ratio:.2f} of {peer}" for peer, ratio in row["of"].items())
        print(f"{name:<15} {row['seconds']:.2f} s{parts}  success {row['success']:.3f}{ratios}")
    reached = {name: steps[name]["of"].get(PEER, 1.0) <= limit for name, limit in LIMITS.items()}
    found = {"steps": steps, "reached": reached, **machine("torch", "transformers", "numpy")}
    OUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def primed(run: Path) -> Path:
    train(load_config(CONFIG, {"run.seed": str(SEED), "grpo.steps": "0", "evaluation.episodes": "16"}), run)
    return run / "models" / "primed"


def settings(model: Path, steps: int) -> dict[str, str]:
    """Of all contestants: the primed model, and nothing besides the steps."""
    return {
        "run.seed": str(SEED),
        "model.path": str(model),
        "model.small": "{}",
        "sft.steps": "0",
        "grpo.steps": str(steps),
        "rollout.concurrency": "256",
        "evaluation.episodes": "16",
    }


def by_ludus(folder: Path, model: Path, workers: int, steps: int) -> dict[str, Any]:
    run = folder / f"workers-{workers}"
    overrides = {**settings(model, steps), "run.workers": str(workers)}
    command = [sys.executable, "-c", PROGRAM, str(CONFIG), str(run), json.dumps(overrides)]
    subprocess.run(command, check=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = [line for line in lines if line["phase"] == "grpo"][WARM_UP:]
    return {
        "seconds": median(line["seconds/total"] for line in timed),
        "rollout": median(line["seconds/rollout"] for line in timed),
        "train": median(line["seconds/train"] for line in timed),
        "success": fmean(line["success"] for line in timed),
    }


def by_trl(folder: Path, python: Path, threads: int, batch: int) -> dict[str, Any]:
    result = train_by_trl(folder, python, threads, batch)
    return {
        "seconds": median(result["seconds"][WARM_UP:]),
        "success": fmean(result["success"][WARM_UP:]),
        "batch": batch,
    }


if __name__ == "__main__":
    main()
