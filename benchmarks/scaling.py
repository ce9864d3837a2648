"""Test-time compute: does a process reward model in beam search beat the majority vote at equal tokens?

    python benchmarks/scaling.py [--seeds 1 2 3] [--tasks 512] [--folder runs/scaling]

For each seed: the policy of `configs/arithmetic.toml`, primed; a process model on its backbone, from rollouts
of the policy from each step of its replies; then `ludus scaling` on held-out tasks. Every part is a command
that a finished folder is not asked for again, so that a comparison that was broken off goes on. Prints a
table and writes `benchmarks/results/scaling.json`: of every budget of beam search and of best of n by the
process model, success, tokens, and success less that of the vote at as many sampled tokens, with its 95%
interval over tasks."""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from machine import machine

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "arithmetic.toml"


def ludus(folder: Path, *words: object) -> None:
    command = [sys.executable, "-m", "ludus", *map(str, words)]
    subprocess.run(command, cwd=folder, check=True)


def trained(folder: Path, name: str, model: str, *words: object) -> None:
    """A training run, unless its model is there."""
    run = folder / "runs" / name
    if not (run / "models" / model).is_dir():
        begun = (
            [run / "config.toml", "--resume"] if (run / "config.toml").exists() else [CONFIG, "--name", name]
        )
        ludus(folder, "train", *begun, *([] if "--resume" in begun else words))


def measure(folder: Path, seed: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of one seed; the curves of its `results.json`, and what the process model's report says."""
    primed, process = f"primed-{seed}", f"process-{seed}"
    trained(
        folder, primed, "primed", "--run.seed", seed, "--sft.steps", options["priming"], "--grpo.steps", 0
    )
    own = {
        "kind": "process",
        "separator": " ",  # which is what stands between the steps of a sum
        "tasks": options["labelled"],
        "samples": 4,
        "rollouts": 8,
        "learning_rate": 1e-3,
        "steps": options["steps"],
    }
    none = ("--sft.steps", 0, "--grpo.steps", 0)
    keys = [word for key, value in own.items() for word in (f"--reward_model.{key}", value)]
    path = Path("runs") / primed / "models" / "primed"
    trained(folder, process, "reward", "--run.seed", seed, "--model.path", path, *none, *keys)
    out = Path("runs") / f"scaling-{seed}"
    words = ["--model", f"runs/{primed}", "--process", f"runs/{process}", "--tasks", options["tasks"]]
    words += ["--samples", options["samples"], "--beam", 2, 3, 4, "--mcts", 8, "--revisions", 1]
    ludus(folder, "scaling", "ludus/Arithmetic-v0", *words, "--concurrency", 128, "--out", out)
    curves = json.loads((folder / out / "results.json").read_text())["curves"]
    report = json.loads((folder / "runs" / process / "reward_model.json").read_text())
    return {"seed": seed, "curves": curves, "reward_model": report}


def shown(measured: Mapping[str, Any]) -> None:
    print(f"\nseed {measured['seed']}")
    print(f"{'':52}{'success':>8}{'sampled':>9}{'over the vote at equal tokens':>34}")
    for curve in measured["curves"]:
        for point in curve["points"]:
            over = point["over_majority"]
            told = "–"
            if over["value"] is not None:
                told = f"{over['value']:+.3f} ({over['low']:+.3f} to {over['high']:+.3f})"
            name = f"{curve['name'].replace('process model runs/', '')}, {point['setting']}"
            print(f"{name:52}{point['success']['value']:8.3f}{point['sampled']:9.0f}{told:>34}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tasks", type=int, default=512, help="held-out tasks")
    parser.add_argument("--samples", type=int, default=32, help="of each task, for the vote")
    parser.add_argument("--priming", type=int, default=75, help="steps of priming")
    parser.add_argument(
        "--labelled", type=int, default=1536, help="training tasks whose replies are labelled"
    )
    parser.add_argument("--steps", type=int, default=400, help="of the process model")
    parser.add_argument("--folder", type=Path, default=Path("runs") / "scaling")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    measured = []
    for seed in options.seeds:
        measured.append(measure(options.folder, seed, vars(options)))
        shown(measured[-1])
    about = {key: value for key, value in vars(options).items() if key != "folder"}
    result = {**machine("ludus", "torch", "transformers"), "options": about, "measured": measured}
    path = HERE / "results" / "scaling.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{path}")


if __name__ == "__main__":
    main()
