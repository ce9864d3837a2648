"""Kill a run with SIGKILL at five random moments, resume it each time, and compare its weights with an
unkilled run's.

    python benchmarks/resume.py [--seed 0] [--config configs/arithmetic.toml]

Each of the five runs is a fresh process that is killed once, at a moment drawn between 10% and 98% of the
unkilled run's duration (imports included), then resumed in another process. "Equal" means every byte of
`models/final`'s weights. Prints a table and writes `benchmarks/results/resume.json`.
"""

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

HERE = Path(__file__).parent
MOMENTS = 5
SHORT = {
    "sft.steps": "40",
    "sft.demonstrations": "512",
    "grpo.steps": "12",
    "grpo.updates_per_batch": "2",
    "evaluation.episodes": "256",
    "checkpoint.every": "5",
}
"""The main job, cut short: every phase is in it."""
PROGRAM = """
import json, sys
from ludus.trainers.config import load_config
from ludus.trainers.run.job import train
config, run, resume, overrides = sys.argv[1:]
train(load_config(config, json.loads(overrides)), run, resume == "resume")
"""


def start(config: Path, run: Path, resume: bool = False) -> "subprocess.Popen[bytes]":
    arguments = [str(config), str(run), "resume" if resume else "begin", json.dumps(SHORT)]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments])


def finish(process: "subprocess.Popen[bytes]") -> None:
    if process.wait():
        raise SystemExit(f"the run failed with exit code {process.returncode}")


def weights(run: Path) -> str:
    return hashlib.sha256((run / "models" / "final" / "model.safetensors").read_bytes()).hexdigest()


def where(run: Path) -> str:
    """What the killed run had done."""
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    evaluation = run / "evaluation.json"
    evaluated = list(json.loads(evaluation.read_text())) if evaluation.exists() else []
    steps = {name: sum(f'"phase": "{name}"' in line for line in lines) for name in ("sft", "grpo")}
    saved = sorted(path.name for path in (run / "checkpoints").glob("step-*"))
    last = saved[-1] if saved else "none"
    return f"sft {steps['sft']}, grpo {steps['grpo']}, evaluated {evaluated or 'nothing'}, checkpoint {last}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "arithmetic.toml")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    trials: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        began = time.perf_counter()
        finish(start(arguments.config, whole))
        duration = time.perf_counter() - began
        expected = weights(whole)
        print(f"unkilled: {duration:.1f} s, weights {expected[:16]}")
        while len(trials) < MOMENTS:
            run = Path(folder) / f"killed-{len(trials)}"
            moment = draw.uniform(0.1, 0.98) * duration
            process = start(arguments.config, run)
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
            if process.wait() != -signal.SIGKILL or not (run / "config.toml").exists():
                run.rename(
                    run.with_name(f"missed-{time.monotonic_ns()}")
                )  # too late or too early: draw again
                continue
            killed_at = where(run)
            finish(start(arguments.config, run, resume=True))
            trials.append(
                {
                    "seconds": moment,
                    "done": killed_at,
                    "weights": weights(run),
                    "equal": weights(run) == expected,
                }
            )
            print(
                f"killed after {moment:5.1f} s ({killed_at}): "
                f"{'equal' if trials[-1]['equal'] else 'DIFFERENT'}"
            )
    result = {
        "unkilled_seconds": duration,
        "weights": expected,
        "trials": trials,
        "all_equal": all(trial["equal"] for trial in trials),
        "overrides": SHORT,
        **machine("torch", "transformers", "numpy", "safetensors"),
    }
    out = HERE / "results" / "resume.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")
    if not result["all_equal"]:
        raise SystemExit("a resumed run ended in other weights than the unkilled one")


if __name__ == "__main__":
    main()
