"""Does a healthy run ring an alarm? A thousand steps of three configurations, and how near they came to it.

    python benchmarks/trust.py [--folder runs/trust] [--only arithmetic …] [--steps 10]

`configs/arithmetic.toml` (400 steps), `configs/quest.toml` (many turns, credit by anchor; 300) and
`configs/ppo.toml` (a value model; 300), each from a seed of its own, with their own limits and settings
except for what makes the run short and leaves it one that learns: fewer groups, less priming, a small
evaluation. Every run is a process of its own and is read, not trained again, once it is finished or an alarm
has stopped it; a killed one goes on.

Prints a table and writes `benchmarks/results/trust.json`: of every check the worst value and its step, the
limit, how near it came (1: at the limit, above 1: beyond it; null where there is no such ratio), and its
alarms. The project's figure: a thousand steps without an alarm.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learning import PROGRAM
from machine import machine

from ludus.report.run.files import read_run
from ludus.report.run.trust import Check, read_trust

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
OUT = HERE / "results" / "trust.json"
FEWEST_STEPS = 1000


@dataclass(frozen=True)
class Healthy:
    """A configuration that is known to learn."""

    name: str
    seed: int
    steps: int
    changes: Mapping[str, str]
    """What makes a step short, by dotted key."""


RUNS = (
    Healthy("arithmetic", 71, 400, {"grpo.groups": "8"}),
    Healthy("quest", 72, 300, {"sft.steps": "200", "sft.demonstrations": "3200"}),
    Healthy("ppo", 76, 300, {}),  # with fewer groups its value model learns too slowly to be called healthy
)
SHORT = {"evaluation.episodes": "64", "checkpoint.every": "50"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [run.name for run in RUNS]
    parser.add_argument("--folder", type=Path, default=Path("runs/trust"))
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--steps", type=int, help="of each run; a trial, whose result is not written")
    arguments = parser.parse_args()
    found = {}
    for healthy in RUNS:
        if healthy.name in arguments.only:
            folder = arguments.folder / f"{healthy.name}-{healthy.seed}"
            if not is_over(folder):
                train(healthy, folder, arguments.steps or healthy.steps)
            found[healthy.name] = summary(folder, healthy)
            show(healthy.name, found[healthy.name])
    steps, alarms = (sum(run[key] for run in found.values()) for key in ("steps", "alarms"))
    passed = steps >= FEWEST_STEPS and not alarms
    print(f"{steps:,} steps, {alarms} alarms")
    if arguments.steps or len(found) < len(RUNS):
        return
    about = {"steps": steps, "alarms": alarms, "passed": passed, **machine("torch", "transformers", "numpy")}
    OUT.write_text(json.dumps({"runs": found, **about}, indent=1) + "\n", encoding="utf-8")
    print(f"written to {OUT}")
    if not passed:
        raise SystemExit(f"not {FEWEST_STEPS:,} steps without an alarm")


def is_over(folder: Path) -> bool:
    """Whether the run is finished, or an alarm has stopped it."""
    if not (folder / "config.toml").exists():
        return False
    trust = read_trust(folder)
    return read_run(folder).finished or (trust is not None and trust.alarm != "")


def train(healthy: Healthy, folder: Path, steps: int) -> None:
    """Train in a process of its own; an alarm that ends it is in its `trust.json`."""
    overrides = {"run.seed": str(healthy.seed), "grpo.steps": str(steps), **SHORT, **healthy.changes}
    config = CONFIGS / f"{healthy.name}.toml"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("a") as log:
        command = [sys.executable, "-c", PROGRAM, str(config), str(folder), json.dumps(overrides)]
        subprocess.run(command, check=False, stdout=log, stderr=log)
    if not is_over(folder):
        raise SystemExit(f"{healthy.name} ended without an alarm and without a result: see {log.name}")


def summary(folder: Path, healthy: Healthy) -> dict[str, Any]:
    run, trust = read_run(folder), read_trust(folder)
    if trust is None:
        raise SystemExit(f"{folder}: no trust.json")
    success = {stage: evaluated["success"]["value"] for stage, evaluated in run.evaluation.items()}
    return {
        "seed": healthy.seed,
        "changes": {**SHORT, **healthy.changes},
        "steps": run.grpo.steps,
        "seconds": float(run.grpo.columns["seconds/total"][1].sum()),
        "success": success,
        "stopped_by": trust.alarm,
        "alarms": sum(check.alarms for check in trust.checks),
        "checks": {check.name: standing(check) for check in trust.checks},
    }


def standing(check: Check) -> dict[str, Any]:
    near = check.nearness if check.applies else math.nan
    return {
        "limit": check.limit,
        "bound": check.bound,
        "measured": check.steps,
        "worst": check.worst,
        "worst_step": check.worst_step,
        "nearness": near if math.isfinite(near) else None,
        "alarms": check.alarms,
        "message": check.message,
    }


def show(name: str, run: Mapping[str, Any]) -> None:
    success = ", ".join(f"{stage} {value:.2f}" for stage, value in run["success"].items())
    print(
        f"{name}: {run['steps']} steps in {run['seconds']:.0f} s, success {success}, {run['alarms']} alarms"
    )
    for check, at in run["checks"].items():
        if at["measured"]:
            sign = "<=" if at["bound"] == "most" else ">="
            near = "–" if at["nearness"] is None else f"{at['nearness']:.2g}"
            rung = f"  ALARMS: {at['alarms']}, {at['message']}" if at["alarms"] else ""
            limit = f"{sign} {at['limit']}"
            print(f"  {check:<24}{at['worst']:>10.3g} {limit:<9}{near:>8} at step {at['worst_step']}{rung}")


if __name__ == "__main__":
    main()
