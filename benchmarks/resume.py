"""Kill a run with SIGKILL in each of its phases, resume it, and compare its result with an unkilled run's.

    python benchmarks/resume.py [--seed 0] [--config configs/arithmetic.toml] [--set KEY=VALUE …]
    python benchmarks/resume.py --algorithms
    python benchmarks/resume.py --workers

Each trial is a fresh process, killed once at a moment drawn between 5% and 90% of a phase (two in priming,
two in GRPO, one in each evaluation), then resumed in another process. "Equal" means every byte of
the models that the run leaves, every metric that is not a time, and the evaluations. Prints a table and
writes `benchmarks/results/resume.json`; with `--algorithms`, `benchmarks/results/resume-algorithms.json`:
every algorithm's file in `configs/`, cut short, killed twice in the phase that makes the algorithm. With
`--workers`, `benchmarks/results/resume-workers.json`: a short run by two workers, twice unkilled, then with
the process that began it killed, or the other one, or both at once. A process that outlives the run is an
error.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from algorithms import FILES, contestant
from machine import machine

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
FIRST, OTHER = "the first process", "the other process"
Kill = tuple[str, tuple[str, ...]]
"""A phase, and who is killed in it."""
KILLS: tuple[Kill, ...] = tuple(
    (phase, (FIRST,)) for phase in ("sft", "sft", "evaluation-primed", "grpo", "grpo", "evaluation-final")
)
WORKER_KILLS: tuple[Kill, ...] = (
    ("sft", (FIRST,)),
    ("grpo", (FIRST,)),
    ("grpo", (OTHER,)),
    ("grpo", (FIRST, OTHER)),
    ("evaluation-final", (OTHER,)),
)
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
SHORTEST = {
    **SHORT,
    "sft.steps": "12",
    "sft.demonstrations": "256",
    "sft.heldout_demonstrations": "16",
    "grpo.steps": "8",
    "grpo.groups": "8",
    "evaluation.episodes": "16",
    "checkpoint.every": "3",
}
"""An algorithm, cut short: what makes it is in it."""
WORKERS = {
    "run.workers": "2",
    "sft.steps": "40",
    "grpo.steps": "16",
    "evaluation.episodes": "128",
    "checkpoint.every": "3",
}
"""`configs/tiny.toml` by two workers, with phases long enough to be hit."""
GONE_SECONDS = 10.0
"""How long after the first process a worker may end."""
RFT = {"sft.steps": "60", "rft.iterations": "2", "rft.tasks": "64", "rft.samples": "4", "rft.steps": "6"}
"""Rejection sampling, cut short: it needs some success to begin with."""
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


def kill_within(process: Process, phase: str, seconds: float, victims: Sequence[str]) -> bool:
    """Kill these this many seconds after the phase began; return whether it was still in that phase."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.split() == ["begun", phase]:
            break
    time.sleep(seconds)
    others = children(process.pid)
    for victim in victims:
        for pid in [process.pid] if victim == FIRST else others:
            os.kill(pid, signal.SIGKILL)
    told, _ = process.communicate()
    wait_for_end(others)
    return process.returncode != 0 and f"ended {phase}" not in told


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_end(pids: Sequence[int]) -> None:
    until = time.monotonic() + GONE_SECONDS
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > until:
            raise SystemExit(f"{left} still run {GONE_SECONDS:g} s after the first process ended")
        time.sleep(0.05)


def outcome(run: Path) -> str:
    """A hash of all that must not depend on kills."""
    found = hashlib.sha256()
    for weights in sorted((run / "models").rglob("*.safetensors")):
        found.update(str(weights.relative_to(run)).encode() + weights.read_bytes())
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
    steps = Counter(json.loads(line)["phase"] for line in lines if line.endswith("}"))
    saved = sorted(path.name for path in (run / "checkpoints").glob("step-*"))
    done = "".join(f"{phase} {count}, " for phase, count in steps.items())
    return f"{done}checkpoint {saved[-1] if saved else 'none'}"


def tried(
    config: Path, overrides: dict[str, str], kills: Sequence[Kill], draw: random.Random, unkilled: int = 1
) -> dict[str, Any]:
    """Run a configuration unkilled, once or several times, then killed in each of these ways."""
    trials: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        lasted = finish(start(config, Path(folder) / "whole-0", overrides))
        duration = time.perf_counter() - began
        for number in range(1, unkilled):
            finish(start(config, Path(folder) / f"whole-{number}", overrides))
        outcomes = [outcome(Path(folder) / f"whole-{number}") for number in range(unkilled)]
        expected = outcomes[0]
        print(f"{config.stem}, unkilled: {duration:.1f} s, outcomes {', '.join(o[:16] for o in outcomes)}")
        for number, (phase, victims) in enumerate(kills):
            for attempt in range(TRIES):
                run = Path(folder) / f"killed-{number}-{attempt}"
                # Half as late at each try: the unkilled run may have met a busier machine.
                seconds = draw.uniform(0.05, 0.9) * lasted[phase] / 2**attempt
                if kill_within(start(config, run, overrides), phase, seconds, victims):
                    break
            else:
                raise SystemExit(f"{phase} was over before it could be killed, {TRIES} times: lengthen it")
            killed_at, who = where(run), " and ".join(victims)
            finish(start(config, run, overrides, resume=True))
            equal = outcome(run) == expected
            trials.append(
                {"phase": phase, "killed": who, "seconds": seconds, "done": killed_at, "equal": equal}
            )
            verdict = "equal" if equal else "DIFFERENT"
            print(f"{who} killed {seconds:5.1f} s into {phase} ({killed_at}): {verdict}", flush=True)
    return {
        "unkilled_seconds": duration,
        "outcome": expected,
        "unkilled_equal": outcomes == unkilled * [expected],
        "trials": trials,
        "all_equal": outcomes == unkilled * [expected] and all(trial["equal"] for trial in trials),
        "overrides": overrides,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=CONFIGS / "arithmetic.toml")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="more overrides")
    parser.add_argument("--algorithms", action="store_true", help="every algorithm of configs/, cut short")
    parser.add_argument("--workers", action="store_true", help="configs/tiny.toml by two workers")
    arguments = parser.parse_args()
    more, draw = dict(pair.split("=", 1) for pair in arguments.set), random.Random(arguments.seed)
    about = machine("torch", "transformers", "numpy", "safetensors")
    if arguments.algorithms:
        by_name = {}
        for algorithm in map(contestant, FILES):
            short = {**SHORTEST, **algorithm.changes, **(RFT if algorithm.phase == "rft" else {}), **more}
            by_name[algorithm.name] = tried(algorithm.config, short, 2 * ((algorithm.phase, (FIRST,)),), draw)
        all_equal = all(result["all_equal"] for result in by_name.values())
        write("resume-algorithms.json", {"algorithms": by_name, "all_equal": all_equal, **about})
    elif arguments.workers:
        result = tried(CONFIGS / "tiny.toml", {**WORKERS, **more}, WORKER_KILLS, draw, unkilled=2)
        all_equal = result["all_equal"]
        write("resume-workers.json", {**result, **about})
    else:
        result = tried(arguments.config, {**SHORT, **more}, KILLS, draw)
        all_equal = result["all_equal"]
        write("resume.json", {**result, **about})
    if not all_equal:
        raise SystemExit("a run ended otherwise than the first unkilled one")


def write(name: str, found: dict[str, Any]) -> None:
    out = HERE / "results" / name
    out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
