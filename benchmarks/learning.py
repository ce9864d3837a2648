"""Comparing ways of training: for every seed one primed model, from which each of them goes on.

A contestant is a configuration file and changes to it. Every run is a process of its own; a finished one is
read instead of trained again, so that a comparison that was broken off goes on.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

PROGRAM = """
import json, os, sys
from ludus.trainers.config.reading import load_config
from ludus.trainers.run.job import train
config, run, overrides = sys.argv[1:]
train(load_config(config, json.loads(overrides)), run, resume=os.path.exists(run + "/config.toml"))
"""

STUDENT_95 = {
    2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262, 11: 2.228,
    12: 2.201, 13: 2.179, 14: 2.160, 15: 2.145, 16: 2.131, 17: 2.120, 18: 2.110, 19: 2.101, 20: 2.093,
}  # fmt: skip
"""Student's t at 97.5%, by the number of seeds."""


@dataclass(frozen=True)
class Contestant:
    name: str
    config: Path
    changes: Mapping[str, str] = field(default_factory=dict)
    """By dotted key, as on the command line."""
    phase: str = "grpo"
    """The phase that makes it."""


@dataclass(frozen=True)
class Learned:
    """What one run shows."""

    seed: int
    tokens: list[int]
    """Sampled in training so far, after each step that sampled."""
    success: list[float]
    """Of each step's episodes, which are of tasks that were never seen before."""
    primed: dict[str, float]
    final: dict[str, float]
    """Success on held-out tasks, with its 95% interval over them."""
    seconds: float
    """Of training, without priming and evaluation."""


def compare(
    priming: Path, contestants: Sequence[Contestant], seeds: Sequence[int], folder: Path, jobs: int
) -> dict[str, list[Learned]]:
    """Train every contestant with every seed, `jobs` runs at a time.

    Args:
        priming: the configuration that primes the model from which they go on.
    """
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda seed: prime(priming, seed, folder), seeds))
        pairs = [(contestant, seed) for seed in seeds for contestant in contestants]
        runs = list(pool.map(lambda pair: go_on(*pair, folder), pairs))
    by_name: dict[str, list[Learned]] = {contestant.name: [] for contestant in contestants}
    for (contestant, _), run in zip(pairs, runs, strict=True):
        by_name[contestant.name].append(run)
        print(
            f"{contestant.name:<12} seed {run.seed}  {run.primed['value']:.3f} → {run.final['value']:.3f} "
            f"[{run.final['low']:.3f}, {run.final['high']:.3f}]  {sum(run.tokens[-1:]):>9,} tokens  "
            f"{run.seconds:.0f} s"
        )
    return by_name


def prime(config: Path, seed: int, folder: Path) -> None:
    """Make and evaluate the primed model of a seed."""
    trained(config, folder / f"primed-{seed}", {"run.seed": str(seed), "grpo.steps": "0"}, "primed")


def go_on(contestant: Contestant, seed: int, folder: Path) -> Learned:
    """Train from the primed model of a seed, and evaluate."""
    primed, run = folder / f"primed-{seed}", folder / f"{contestant.name}-{seed}"
    from_primed = {
        "run.seed": str(seed),
        "model.path": str(primed / "models" / "primed"),
        "model.small": "{}",
        **({} if contestant.phase == "sft" else {"sft.steps": "0"}),
    }
    end = "primed" if contestant.phase == "sft" else "final"
    evaluation = trained(contestant.config, run, {**from_primed, **contestant.changes}, end)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["phase"] == contestant.phase]
    sampled = [step for step in steps if "success" in step]
    return Learned(
        seed,
        list(accumulate(round(step["sampled_tokens"]) for step in sampled)),
        [step["success"] for step in sampled],
        evaluation_of(primed)["primed"]["success"],
        evaluation[end]["success"],
        sum(step["seconds/total"] for step in steps),
    )


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Mean and 95% interval over seeds (Student's t)."""
    half = STUDENT_95[len(values)] * stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    mean = fmean(values)
    return {"value": mean, "low": mean - half, "high": mean + half}


def trained(config: Path, run: Path, overrides: Mapping[str, str], end: str = "final") -> dict[str, Any]:
    """Train in a process of its own, unless the run's evaluation has `end` already; its evaluation."""
    if end not in evaluation_of(run):
        run.parent.mkdir(parents=True, exist_ok=True)
        with (run.parent / f"{run.name}.log").open("a") as log:
            command = [sys.executable, "-c", PROGRAM, str(config), str(run), json.dumps(overrides)]
            subprocess.run(command, check=True, stdout=log, stderr=log)
    return evaluation_of(run)


def evaluation_of(run: Path) -> dict[str, Any]:
    """What has been evaluated of a run so far."""
    path = run / "evaluation.json"
    return json.loads(path.read_text()) if path.exists() else {}
