"""Kill a run with SIGKILL in each of its phases, resume it, and compare its result with an unkilled run's.

    python benchmarks/resume.py [--seed 0] [--config configs/arithmetic.toml] [--set KEY=VALUE …]

Each trial is a fresh process, killed once at a moment drawn between 5% and 90% of a phase (two in priming,
two in GRPO, one in each evaluation), then resumed in another process. "Equal" means every byte of
`models/primed` and `models/final`, every metric that is not a time, and the evaluations. Prints a table and
writes `benchmarks/results/resume.json`.
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
PHASES = ("sft", "sft", "evaluation-primed", "grpo", "grpo", "evaluation-final")
"""The phases in which trials are killed."""
TRIES = 5
"""Moments drawn for a trial before the phase counts as too short to hit."""
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
from ludus.trainers.config.reading import load_config
from ludus.trainers.listener import Listener
from ludus.trainers.run.job import train

class Teller(Listener):
    def phase_begun(self, phase, total, completed):
        print("begun", phase, flush=True)
    def phase_ended(self, phase, seconds):
        print("ended", phase, seconds, flush=True)

config, run, resume, overrides = sys.argv[1:]
train(load_config(config, json.loads(overrides)), run, resume == "resume", Teller())
"""

Process = subprocess.Popen[str]


def start(config: Path, run: Path, overrides: dict[str, str], resume: bool = False) -> Process:
    arguments = [str(config), str(run), "resume" if resume else "begin", json.dumps(overrides)]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)


def finish(process: Process) -> dict[str, float]:
    """Wait for the end; return the seconds of each phase."""
    told, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the run failed with exit code {process.returncode}")
    ended = (line.split() for line in told.splitlines() if line.startswith("ended"))
    return {phase: float(seconds) for _, phase, seconds in ended}


def kill_within(process: Process, phase: str, seconds: float) -> bool:
    """Kill the process this many seconds after the phase began; return whether it was still in that phase."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.split() == ["begun", phase]:
            break
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    told, _ = process.communicate()
    return process.returncode == -signal.SIGKILL and f"ended {phase}" not in told


def outcome(run: Path) -> str:
    """A hash of all that must not depend on kills."""
    found = hashlib.sha256()
    for stage in ("primed", "final"):
        found.update((run / "models" / stage / "model.safetensors").read_bytes())
    for text in (run / "metrics.jsonl").read_text().splitlines():
        line = {
            name: value
            for name, value in json.loads(text).items()
            if not name.startswith("seconds/") and name not in ("tokens_per_second", "checksum")
        }
        found.update(json.dumps(line, sort_keys=True).encode())
    found.update(json.dumps(json.loads((run / "evaluation.json").read_text()), sort_keys=True).encode())
    return found.hexdigest()


def where(run: Path) -> str:
    """What the killed run had completed."""
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    steps = {name: sum(f'"phase": "{name}"' in line for line in lines) for name in ("sft", "grpo")}
    saved = sorted(path.name for path in (run / "checkpoints").glob("step-*"))
    return f"sft {steps['sft']}, grpo {steps['grpo']}, checkpoint {saved[-1] if saved else 'none'}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "arithmetic.toml")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="more overrides")
    arguments = parser.parse_args()
    overrides = {**SHORT, **dict(pair.split("=", 1) for pair in arguments.set)}
    draw = random.Random(arguments.seed)
    trials: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        began = time.perf_counter()
        lasted = finish(start(arguments.config, whole, overrides))
        duration = time.perf_counter() - began
        expected = outcome(whole)
        print(f"unkilled: {duration:.1f} s, outcome {expected[:16]}")
        for number, phase in enumerate(PHASES):
            for attempt in range(TRIES):
                run = Path(folder) / f"killed-{number}-{attempt}"
                seconds = draw.uniform(0.05, 0.9) * lasted[phase]
                if kill_within(start(arguments.config, run, overrides), phase, seconds):
                    break
            else:
                raise SystemExit(f"{phase} was over before it could be killed, {TRIES} times: lengthen it")
            killed_at = where(run)
            finish(start(arguments.config, run, overrides, resume=True))
            equal = outcome(run) == expected
            trials.append({"phase": phase, "seconds": seconds, "done": killed_at, "equal": equal})
            verdict = "equal" if equal else "DIFFERENT"
            print(f"killed {seconds:5.1f} s into {phase} ({killed_at}): {verdict}", flush=True)
    result = {
        "unkilled_seconds": duration,
        "outcome": expected,
        "trials": trials,
        "all_equal": all(trial["equal"] for trial in trials),
        "overrides": overrides,
        **machine("torch", "transformers", "numpy", "safetensors"),
    }
    out = HERE / "results" / "resume.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")
    if not result["all_equal"]:
        raise SystemExit("a resumed run ended otherwise than the unkilled one")


if __name__ == "__main__":
    main()
