"""A GRPO step of the main job, end to end: Ludus by one and by two workers, and TRL.

    python benchmarks/step.py [--trl-python /path/to/venv/bin/python] [--steps 12] [--rounds 3]
        [--model FOLDER]

TRL runs in its own environment (see `beside_trl.py`); without the option it is left out. All begin with the
same primed model (`configs/arithmetic.toml`, or the one in FOLDER) and play the same tasks: groups and their
size as in the file, at most 48 tokens, one thread a process (TRL besides with two). Each contestant is a
fresh process, alone on the machine, and has its turn in every round. A step is rollout and update; a
contestant's figure is the median over the steps after the first two of all rounds, a ratio the median over
rounds of the ratio there. TRL gets the batch size with which it is fastest in the first round. Prints a table
and writes `benchmarks/results/step.json`. The project's figures: at most 0.45 of TRL's time with one thread
by one worker, at most 0.25 by two.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from operator import truediv
from pathlib import Path
from statistics import fmean, median
from typing import Any

from beside_trl import lay_out, train_by_trl
from learning import PROGRAM
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl-python", type=Path, help="interpreter of TRL's environment")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, help="a primed model; by default one is primed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = arguments.model or primed(Path(scratch) / "primed")
        batches: dict[int, int] = {}
        rounds = []
        for number in range(arguments.rounds):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            rounds.append(round_of(folder, model, arguments.steps, arguments.trl_python, batches))
    steps: dict[str, dict[str, Any]] = {}
    for name in rounds[0]:
        measured = [timed[name] for timed in rounds]
        steps[name] = {
            key: median(value for run in measured for value in run[key])
            for key in ("seconds", "rollout", "train")
            if key in measured[0]
        }
        steps[name]["success"] = fmean(value for run in measured for value in run["success"])
        steps[name]["rounds"] = [median(run["seconds"]) for run in measured]
    peers = [name for name in steps if name.startswith("TRL")]
    for name, row in steps.items():
        row["of"] = {
            peer: median(map(truediv, row["rounds"], steps[peer]["rounds"])) for peer in peers if peer != name
        }
        parts = "".join(f"  {part} {row[part]:.2f} s" for part in ("rollout", "train") if part in row)
        ratios = "".join(f"  {ratio:.2f} of {peer}" for peer, ratio in row["of"].items())
        print(f"{name:<15} {row['seconds']:.2f} s{parts}  success {row['success']:.3f}{ratios}")
    reached = {name: steps[name]["of"].get(PEER, 1.0) <= limit for name, limit in LIMITS.items()}
    about = {"trl_batches": batches, **machine("torch", "transformers", "numpy")}
    OUT.write_text(
        json.dumps({"steps": steps, "reached": reached, **about}, indent=2) + "\n", encoding="utf-8"
    )


def round_of(
    folder: Path, model: Path, steps: int, trl: Path | None, batches: dict[int, int]
) -> dict[str, dict[str, list[float]]]:
    """Every contestant's steps, one contestant after the other.

    Args:
        trl: the interpreter of TRL's environment.
        batches: by threads, TRL's fastest batch size; the first round finds it.
    """
    timed = {
        f"{workers} worker{'s' * (workers > 1)}": by_ludus(folder, model, workers, steps)
        for workers in (1, 2)
    }
    if trl is None:
        return timed
    config = load_config(CONFIG, settings(model, steps))
    lay_out(folder, config, model, r"<answer>\s*(-?\d+)\s*</answer>")
    for threads in (1, 2):
        sizes = [batches[threads]] if threads in batches else BATCHES
        tried = {size: by_trl(folder, trl, threads, size) for size in sizes}
        batches[threads] = min(tried, key=lambda size: median(tried[size]["seconds"]))
        timed[f"TRL, {threads} thread{'s' * (threads > 1)}"] = tried[batches[threads]]
    return timed


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


def by_ludus(folder: Path, model: Path, workers: int, steps: int) -> dict[str, list[float]]:
    run = folder / f"workers-{workers}"
    overrides = {**settings(model, steps), "run.workers": str(workers)}
    command = [sys.executable, "-c", PROGRAM, str(CONFIG), str(run), json.dumps(overrides)]
    subprocess.run(command, check=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = [line for line in lines if line["phase"] == "grpo"][WARM_UP:]
    keys = {"seconds": "seconds/total", "rollout": "seconds/rollout", "train": "seconds/train"}
    return {name: [line[key] for line in timed] for name, key in {**keys, "success": "success"}.items()}


def by_trl(folder: Path, python: Path, threads: int, batch: int) -> dict[str, list[float]]:
    result = train_by_trl(folder, python, threads, batch)
    return {name: result[name][WARM_UP:] for name in ("seconds", "success")}


if __name__ == "__main__":
    main()
