"""What it takes to compute a stored step of 10,000 episodes again.

    python benchmarks/losses.py [--episodes 10000]

Makes a run with a step of made-up episodes of several turns, with forks, whose log-probabilities, advantages,
weights and loss come from the code that trains, by micro-batches. Then `ludus losses` computes all of it
again in a process of its own, alone and beside three other algorithms. Prints, and writes to
`benchmarks/results/losses.json`, the seconds (on the clock, and of the processor) and how far the process's
memory rose above what it takes to import it; that must stay below `BYTES_PER_TOKEN` for each sampled token
and algorithm, on top of `BYTES`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from machine import machine

HERE = Path(__file__).parent
GROUP, TURNS, TOKENS, PROMPT = 8, 3, 40, 60
BYTES, BYTES_PER_TOKEN = 100 * 2**20, 400
"""For Arrow, a row group of episodes and the interpreter; for numbers in float32, indices and what computes
with them."""
OTHERS = ("dapo", "advantage=rloo", "credit=turn")
MEASURE = """
import json, re, sys, time
from pathlib import Path
from ludus.cli import main
from ludus.trainers.replay import replay, tokens
from ludus.agents.models import import_train_extra
import_train_extra()[1].AutoTokenizer
def memory(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
imported, began, worked = memory("VmRSS"), time.perf_counter(), time.process_time()
code = main(["losses", *sys.argv[1:]])
took = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - worked}
print(json.dumps({"code": code, **took, "bytes": memory("VmHWM") - imported}))
"""
"""Prints its figures as the last line."""


def made_up(count: int) -> Iterator[Any]:
    """Episodes with random ids and rewards."""
    from ludus.agents.episode import Episode, StopReason, Turn
    from ludus.envs.chat import assistant, user

    draw = torch.Generator().manual_seed(0)
    said = "word " * 60
    for number in range(count):
        turns = []
        for turn in range(TURNS):
            length = int(torch.randint(TOKENS // 2, 3 * TOKENS // 2, (1,), generator=draw))
            ids = torch.randint(1000, (PROMPT + length,), generator=draw).tolist()
            logprobs = (-torch.rand(length, generator=draw) * 4).tolist()
            turns.append(
                Turn(
                    [user(f"{number} {turn} {said}")],
                    assistant(f"{turn} {said}"),
                    float(torch.rand(1, generator=draw)),
                    {"made up": 1.0},
                    tuple(ids[:PROMPT]),
                    tuple(ids[PROMPT:]),
                    tuple(logprobs),
                    "stop",
                    fork=turn == 2 and number % 4 == 0,
                )
            )
        start = number // GROUP
        yield Episode(
            "ludus/Arithmetic-v0", {}, start, str(start), tuple(turns), StopReason.TERMINATED, group=start
        )


def make_run(folder: Path, count: int) -> None:
    """A run with a step of so many episodes."""
    from ludus.agents.store import write_episodes
    from ludus.tools.checksums import sealed_text
    from ludus.trainers.algorithms.grpo import Update, update_metrics
    from ludus.trainers.batches.groups import make_groups
    from ludus.trainers.batches.layout import lay_out
    from ludus.trainers.batches.minibatch import assemble, minibatch_metrics, split_groups
    from ludus.trainers.batches.packing import flat_logprobs, pack
    from ludus.trainers.batches.scoring import Scores
    from ludus.trainers.config.reading import load_config
    from ludus.trainers.losses.policy import PolicyMetrics, policy_loss
    from ludus.trainers.metrics import MetricsWriter
    from ludus.trainers.replay.record import STEP, TOKENIZER, recorded
    from ludus.trainers.run.directory import step_file

    settings = {"grpo.groups": str(count // GROUP), "grpo.updates_per_batch": "2", "grpo.steps": "1"}
    config = load_config(HERE.parent / "configs" / "grpo.toml", settings)
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(sealed_text(config.to_toml()))
    episodes = list(made_up(count))
    groups = make_groups(episodes, config)
    parts = split_groups(groups, config.grpo.updates_per_batch)
    layouts = [lay_out(part) for part in parts]
    draw = torch.Generator().manual_seed(1)

    def near(logprobs: torch.Tensor, distance: float) -> torch.Tensor:
        return (logprobs + distance * torch.randn(len(logprobs), generator=draw)).clamp(max=0.0)

    def score(index: int, trained: Any) -> Scores:
        rows = [layouts[index].rows[r] for r in trained]
        rest = [layouts[index].rows[r] for r in layouts[index].others(trained)]
        engine_S, engine_rest = flat_logprobs(rows), flat_logprobs(rest)
        logprobs_S, rest_logprobs = near(engine_S, 1e-6), near(engine_rest, 1e-6)
        mismatch_A = torch.cat([logprobs_S - engine_S, rest_logprobs - engine_rest])
        entropy_A = torch.rand(len(mismatch_A), generator=draw)
        packed = pack(rows, config.grpo.microbatch_tokens)
        return Scores(trained, packed, logprobs_S, engine_S, None, mismatch_A, entropy_A, rest_logprobs)

    minibatches = assemble(layouts, score, lambda index: (), False, config)
    updates = []
    for minibatch in minibatches:
        assert minibatch.old_logprobs_S is not None
        logprobs_S = near(minibatch.old_logprobs_S, 0.1)
        losses = [
            policy_loss(config.grpo, minibatch, micro, logprobs_S[micro.token_N])
            for micro in minibatch.micro_batches
        ]
        metrics = sum((PolicyMetrics.read(measured) for _, measured in losses), PolicyMetrics())
        loss = sum(loss.item() for loss, _ in losses)
        updates.append(Update(loss, metrics, logprobs_S, torch.zeros_like(logprobs_S)))
    with MetricsWriter(folder, "grpo") as writer:
        writer.write(1, {**minibatch_metrics(minibatches, config), **update_metrics(updates)})
    kept = recorded(episodes, groups, parts, minibatches, updates)
    write_episodes(step_file(folder, 1), kept, {STEP: "1", TOKENIZER: ""})


def measured(folder: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-c", MEASURE, str(folder), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    *shown, figures = done.stdout.splitlines()
    print("\n".join(shown))
    figures = json.loads(figures)
    assert figures.pop("code") == 0, done.stdout
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="a folder for the run, kept; used again if it is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch) / "run"
        if not folder.exists():
            make_run(folder, arguments.episodes)
        lines = Path(scratch) / "tokens.parquet"
        found = {
            "alone": measured(folder),
            "beside three others": measured(folder, "--loss", *OTHERS),
            "every token's line": measured(folder, "--out", str(lines)),
        }
        tokens = pq.read_metadata(lines).num_rows
        size = (folder / "episodes" / "train-000001.parquet").stat().st_size
    for name, figures in found.items():
        allowed = BYTES + BYTES_PER_TOKEN * tokens * (1 + len(OTHERS) * (name == "beside three others"))
        figures["allowed_bytes"] = allowed
        mebibytes = figures["bytes"] / 2**20
        seconds, worked = figures["seconds"], figures["cpu_seconds"]
        print(f"{name}: {seconds:.1f} s ({worked:.1f} s of CPU), {mebibytes:.0f} MiB")
        assert figures["bytes"] < allowed, (name, figures)
    out = HERE / "results" / "losses.json"
    result = {
        "machine": machine("torch", "pyarrow"),
        "episodes": arguments.episodes,
        "sampled_tokens": tokens,
        "file_bytes": size,
        **found,
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
