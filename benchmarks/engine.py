"""Tokens per second of the embedded engine and of transformers' `generate`, on the same episodes.

    python benchmarks/engine.py [--model FOLDER]

64 concurrent episodes of 10 turns of `ludus/PacManChat-v0` with the small model, greedy, on two threads. The
contestants share model, chat format and environments, and both times include the environments' steps.
`generate` is used in its best form for the job: each turn, one call for all 64 episodes, left-padded, with
its key-value cache and the model's own attention; it cannot keep the cache of ragged episodes between turns,
so it recomputes each context. Without `--model` the weights are random: no completion ends early, which
favours `generate`, whose batch runs until its last row has ended.

Prints a table and writes `benchmarks/results/engine.json`. The project's limit is twice the tokens/s of
`generate`, with the same tokens.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import machine

from ludus.agents.engines.base import Sampling
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.models import LoadedModel, load_model
from ludus.agents.policy import EnginePolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.agents.small_model import build_small_model

RESULTS = Path(__file__).parent / "results" / "engine.json"
EPISODES, TURNS, MAX_TOKENS, REPEATS, THREADS = 64, 10, 16, 3, 2
SPEC = EnvironmentSpec("ludus/PacManChat-v0", {"max_turns": TURNS})
LIMIT = 2.0
Completions = list[list[tuple[int, ...]]]
"""The sampled ids, by episode and turn."""


def play_with_engine(loaded: LoadedModel) -> Completions:
    engine = EmbeddedEngine(loaded.model, slots=EPISODES)
    policy = EnginePolicy(engine, loaded.format, Sampling(max_tokens=MAX_TOKENS, temperature=0))
    starts = [EpisodeStart(seed) for seed in range(EPISODES)]
    episodes = rollout(policy, SPEC, starts, concurrency=EPISODES)
    return [[turn.completion_ids for turn in episode.turns] for episode in episodes]


def play_with_generate(loaded: LoadedModel) -> Completions:
    chat = loaded.format
    envs = [SPEC.make() for _ in range(EPISODES)]
    histories = [env.reset(seed=seed)[0] for seed, env in enumerate(envs)]
    contexts = [chat.first_prompt(messages).ids for messages in histories]
    completions: Completions = [[] for _ in envs]
    running = list(range(EPISODES))
    while running:
        sampled = generate(loaded, [contexts[i] for i in running])
        still_running = []
        for i, ids in zip(running, sampled, strict=True):
            completions[i].append(ids)
            reply = chat.parse(ids)
            added, _, terminated, truncated, _ = envs[i].step(reply)
            if terminated or truncated:
                continue
            histories[i] = [*histories[i], reply]
            seen = (*contexts[i], *ids)
            contexts[i] = (*seen, *chat.next_prompt(histories[i], seen, added).ids)
            histories[i] = [*histories[i], *added]
            still_running.append(i)
        running = still_running
    return completions


def generate(loaded: LoadedModel, contexts: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    longest = max(map(len, contexts))
    stop_ids, pad = list(loaded.format.stop_ids), loaded.format.pad_id
    ids = torch.tensor([[pad] * (longest - len(context)) + list(context) for context in contexts])
    mask = torch.tensor([[0] * (longest - len(context)) + [1] * len(context) for context in contexts])
    output = loaded.model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=MAX_TOKENS,
        do_sample=False,
        eos_token_id=stop_ids,
        pad_token_id=pad,
    )
    rows = output[:, longest:].tolist()
    ends = [next((n + 1 for n, id in enumerate(row) if id in stop_ids), len(row)) for row in rows]
    return [tuple(row[:end]) for row, end in zip(rows, ends, strict=True)]


def measure(play: Callable[[LoadedModel], Completions], loaded: LoadedModel) -> tuple[float, Completions]:
    begun = time.perf_counter()
    completions = play(loaded)
    seconds = time.perf_counter() - begun
    return sum(len(ids) for turns in completions for ids in turns) / seconds, completions


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, help="a folder in transformers' form; a new small model if absent"
    )
    model: Path | None = parser.parse_args().model
    torch.set_num_threads(THREADS)
    loaded = load_model(model or build_small_model([SPEC]))
    contestants = {"ludus": play_with_engine, "transformers generate": play_with_generate}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    played: dict[str, Completions] = {}
    for _ in range(REPEATS + 1):
        for name, play in contestants.items():
            rate, played[name] = measure(play, loaded)
            rates[name].append(rate)
    # the first round is a warm-up
    medians = {name: statistics.median(values[1:]) for name, values in rates.items()}
    ratio = medians["ludus"] / medians["transformers generate"]
    pairs = list(zip(*played.values(), strict=True))
    equal = sum(ours == theirs for ours, theirs in pairs)
    turns = [len(ours) for ours, _ in pairs]
    tokens = sum(len(ids) for ours, _ in pairs for ids in ours)
    for name, rate in medians.items():
        print(f"{name:<24}{rate:>10,.0f} tokens/s   (median of {REPEATS})")
    print(f"{ratio:.2f} times as fast; the limit is {LIMIT:g}")
    print(f"{equal} of {EPISODES} episodes have the same tokens ({tokens:,})")
    result = {
        "tokens_per_second": medians,
        "ratio": ratio,
        "limit": LIMIT,
        "within_limit": ratio >= LIMIT and equal == EPISODES,
        "episodes_with_equal_tokens": equal,
        "episodes": EPISODES,
        "mean_turns": statistics.mean(turns),
        "tokens": tokens,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "model": "trained" if model else "random weights",
        "threads": THREADS,
        "repeats": REPEATS,
        **machine("torch", "transformers"),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
