"""The main job over three seeds: how long it takes, and how much the policy gains.

    python benchmarks/train.py [--seeds 0 1 2] [--config configs/arithmetic.toml] [--workers 2]
    python benchmarks/train.py --config configs/pacman.toml --finished runs/pacman

Each seed is a fresh process (imports count). A finished run is read instead of trained again; its seconds are
those between its first and last file. Prints a table and writes `benchmarks/results/train-CONFIG.json`. The
project's figures: success on held-out tasks up by at least 0.25, the 95% intervals of primed and final
disjoint (arithmetic), by 0.2 likewise (weather); intervals of the return disjoint (code, Pac-Man); those of
each environment's success disjoint (mixture). The same tasks are then played greedily by both models,
whatever the configuration evaluates with.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machine import machine

HERE = Path(__file__).parent
RISES = {"weather": 0.2}
RISE = 0.25
PROGRAM = """
import sys
from ludus.trainers.config.reading import load_config
from ludus.trainers.run.job import train
config, run, seed, workers = sys.argv[1:]
train(load_config(config, {"run.seed": seed, "run.workers": workers}), run)
"""

GREEDY = """
import json, sys
from pathlib import Path
from ludus.agents.evaluate import summarise
from ludus.trainers.config.reading import load_config
from ludus.trainers.mixture import mixture_of
from ludus.trainers.parallel.team import Team
from ludus.trainers.run.policy import load_policy
from ludus.trainers.tasks import hold_out_tasks
from ludus.trainers.validation import play_tasks
run = Path(sys.argv[1])
config = load_config(run / "config.toml")
tasks, found = hold_out_tasks(mixture_of(config), config).evaluation, {}
for stage in ("primed", "final"):
    with Team(config) as team, team.computing_with(load_policy(run / "models" / stage, config)):
        found[stage] = summarise(play_tasks(team, tasks, 1, 0.0)).to_dict()["success"]
print(json.dumps(found))
"""


def measure(config: Path, run: Path, seed: int, workers: int) -> dict[str, Any]:
    began = time.perf_counter()
    program = [sys.executable, "-c", PROGRAM]
    subprocess.run([*program, str(config), str(run), str(seed), str(workers)], check=True)
    return read(run, time.perf_counter() - began)


def read(run: Path, seconds: float) -> dict[str, Any]:
    evaluation = json.loads((run / "evaluation.json").read_text())
    primed, final = evaluation["primed"]["success"], evaluation["final"]["success"]
    command = [sys.executable, "-c", GREEDY, str(run)]
    greedy = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    returns = {stage: summary["mean_return"] for stage, summary in evaluation.items()}
    return {
        "seed": tomllib.loads((run / "config.toml").read_text())["run"]["seed"],
        "seconds": seconds,
        "seconds_by_phase": {
            phase: sum(line["seconds/total"] for line in lines if line["phase"] == phase)
            for phase in ("sft", "grpo")
        },
        "tasks": evaluation["final"]["episodes"],
        "primed": primed,
        "final": final,
        "rise": final["value"] - primed["value"],
        "disjoint": primed["high"] < final["low"],
        "returns": returns,
        "returns_disjoint": returns["primed"]["high"] < returns["final"]["low"],
        "greedy": json.loads(greedy),
        "environments": {
            name: rise_of(before["success"], evaluation["final"]["environments"][name]["success"])
            for name, before in evaluation["primed"].get("environments", {}).items()
        },
    }


def rise_of(primed: dict[str, float], final: dict[str, float]) -> dict[str, Any]:
    return {"primed": primed, "final": final, "disjoint": primed["high"] < final["low"]}


def row(begin: str, primed: dict[str, float], final: dict[str, float]) -> str:
    shown = [f"{x['value']:.3f} [{x['low']:.3f}, {x['high']:.3f}]" for x in (primed, final)]
    return f"{begin:>13}   {shown[0]:<22} {shown[1]:<22} {final['value'] - primed['value']:>6.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "arithmetic.toml")
    parser.add_argument("--workers", type=int, default=1, help="as `make train` has 2 of them")
    parser.add_argument("--finished", type=Path, metavar="RUN", help="read this run instead of training")
    arguments = parser.parse_args()
    print(f"{'seed':>4} {'seconds':>8}   {'primed':<22} {'final':<22} {'rise':>6}")
    rise = RISES.get(arguments.config.stem, RISE)
    runs = []
    for run in measured(arguments):
        runs.append(run)
        print(row(f"{run['seed']:>4} {run['seconds']:>8.1f}", run["primed"], run["final"]))
        for name, part in run["environments"].items():
            print(row(name, part["primed"], part["final"]))
    parts = [part for run in runs for part in run["environments"].values()]
    result = {
        "runs": runs,
        "success_rise_reached": all(run["rise"] >= rise and run["disjoint"] for run in runs),
        "returns_disjoint": all(run["returns_disjoint"] for run in runs),
        **({"environments_disjoint": all(part["disjoint"] for part in parts)} if parts else {}),
        "config": arguments.config.name,
        "workers": arguments.workers,
        **machine("torch", "transformers", "numpy"),
    }
    out = HERE / "results" / f"train-{arguments.config.stem}.json"
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")


def measured(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if arguments.finished:
        first, last = (
            (arguments.finished / name).stat().st_mtime for name in ("config.toml", "evaluation.json")
        )
        yield read(arguments.finished, last - first)
        return
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            yield measure(arguments.config, Path(folder) / str(seed), seed, arguments.workers)


if __name__ == "__main__":
    main()
