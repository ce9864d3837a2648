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
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from machine import machine

from ludus.agents.models import load_model
from ludus.agents.rollout import EnvironmentSpec
from ludus.trainers.config.reading import load_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.curriculum import all_levels
from ludus.trainers.mixture import mixture_of
from ludus.trainers.run.job import train
from ludus.trainers.tasks import TaskStream, hold_out_tasks

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
            lay_out(folder, model, arguments.steps)
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


def lay_out(folder: Path, model: Path, steps: int) -> None:
    """The model, the prompts and the settings, as TRL's script reads them."""
    config = load_config(CONFIG, settings(model, steps))
    loaded = load_model(model)
    (folder / "model").symlink_to(model.resolve())
    prompts = [prompt(loaded.format, loaded.tokenizer, *task) for task in tasks(config, steps)]
    (folder / "prompts.json").write_text(json.dumps(prompts))
    about = {
        "groups": config.grpo.groups,
        "group_size": config.grpo.group_size,
        "max_tokens": config.rollout.max_tokens,
        "learning_rate": config.grpo.learning_rate,
        "steps": steps,
        "stop_id": min(loaded.format.stop_ids),
    }
    (folder / "settings.json").write_text(json.dumps(about))


def tasks(config: RunConfig, steps: int) -> list[tuple[EnvironmentSpec, int]]:
    """The tasks of the run's steps, in order."""
    mixture = mixture_of(config)
    stream = TaskStream(mixture, config.run.seed, "grpo", hold_out_tasks(mixture, config).keys)
    drawn = [stream.take(config.grpo.groups, all_levels(mixture), step) for step in range(steps)]
    return [(task.spec, task.seed) for step in drawn for task in step]


def prompt(form: Any, tokenizer: Any, spec: EnvironmentSpec, seed: int) -> dict[str, str]:
    env = spec.make()
    messages, _ = env.reset(seed=seed)
    ids = list(form.first_prompt(messages).ids)
    text = tokenizer.decode(ids)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids, text
    unwrapped: Any = env.unwrapped
    return {"prompt": text, "answer": str(unwrapped.verdict.expected)}


def by_trl(folder: Path, python: Path, threads: int, batch: int) -> dict[str, Any]:
    script = HERE / "peers" / "trl_step.py"
    command = [str(python), str(script), str(folder), str(threads), str(batch)]
    env: Mapping[str, str] = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
    result = json.loads(told.splitlines()[-1])
    return {
        "seconds": median(result["seconds"][WARM_UP:]),
        "success": fmean(result["success"][WARM_UP:]),
        "batch": batch,
    }


if __name__ == "__main__":
    main()
