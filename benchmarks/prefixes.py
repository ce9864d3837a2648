"""How an update grows with what its rows have in common: with distinct tokens, not with the rows' lengths.

    python benchmarks/prefixes.py

Two kinds of batches. `group`: 2 to 64 completions of one prompt. `forks`: four episodes of 2 to 32 turns from
one prompt, whose chat template drops what was thought in earlier turns, so that every turn is a row of its
own that begins with all earlier answers: rows grow with the square of the turns. Distinct tokens are the
rows' distinct beginnings, counted by a trie of this script's own; computed tokens are those that went through
the model. An update packs the rows, scores them, goes backward and takes an optimiser step; `apart` does so
with every row in a micro-batch alone. Both with the trainer's own budget per micro-batch and with all rows in
one, where nothing can be computed twice. Seconds are those of the processor, of one thread, so that they mean
the same on a busy machine; the least of the repeats, since other work only adds to them. An exponent is the
slope of a least-squares line through the logarithms, over all sizes and, as `end`, over the two largest.
Prints a table and writes `benchmarks/results/prefixes.json`.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from transformers import Qwen3Config, Qwen3ForCausalLM

from ludus.agents.episode import TrainingSequence
from ludus.kernels import grpo_loss, token_weights
from ludus.trainers.batches.packing import (
    DEFAULT_TOKEN_BUDGET,
    MicroBatch,
    flat_logprobs,
    pack,
    sampled_counts,
)
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.models.forward import score
from ludus.trainers.models.optimizer import apply_gradients, build_optimizer

WORDS = 1024
GROUP_PROMPT, COMPLETION = 256, 64
GROUP_SIZES = (2, 4, 8, 16, 32, 64)
FORK_PROMPT, EPISODES, THOUGHT, ANSWER, OBSERVATION = 64, 4, 16, 8, 8
TURNS = (2, 4, 8, 16, 32)
BUDGETS = {"default": DEFAULT_TOKEN_BUDGET, "one": 1_000_000}
REPEATS, THREADS = 4, 1
LIMITS = {"computed": 1.02, "seconds": 1.1}
"""The largest exponents over distinct tokens in one micro-batch."""


def group(size: int, draw: np.random.Generator) -> list[TrainingSequence]:
    prompt = ids(draw, GROUP_PROMPT)
    return [row([(prompt, False), (ids(draw, COMPLETION), True)]) for _ in range(size)]


def forks(turns: int, draw: np.random.Generator) -> list[TrainingSequence]:
    prompt, rows = ids(draw, FORK_PROMPT), []
    for _ in range(EPISODES):
        history = prompt
        for _ in range(turns):
            thought, answer = ids(draw, THOUGHT), ids(draw, ANSWER)
            rows.append(row([(history, False), (thought + answer, True)]))
            history = history + answer + ids(draw, OBSERVATION)
    return rows


BATCHES = {"group": (group, GROUP_SIZES), "forks": (forks, TURNS)}


def ids(draw: np.random.Generator, count: int) -> tuple[int, ...]:
    return tuple(draw.integers(3, WORDS, count).tolist())


def row(parts: Sequence[tuple[tuple[int, ...], bool]]) -> TrainingSequence:
    sampled = tuple(mark for part, mark in parts for _ in part)
    return TrainingSequence(
        tuple(id for part, _ in parts for id in part),
        sampled,
        tuple(-6.9 if mark else 0.0 for mark in sampled),
    )


def inputs(row: TrainingSequence) -> tuple[int, ...]:
    """What is computed of a row: all before its last sampled token."""
    return row.ids[: max(t for t, sampled in enumerate(row.sampled) if sampled)]


def distinct(rows: Sequence[TrainingSequence]) -> int:
    """Beginnings of the rows' inputs, each counted once."""
    trie: dict[tuple[int, int], int] = {}
    for one in rows:
        node = 0
        for id in inputs(one):
            node = trie.setdefault((node, id), len(trie) + 1)
    return len(trie)


class Updates:
    def __init__(self) -> None:
        torch.manual_seed(0)
        config = Qwen3Config(
            vocab_size=WORDS,
            hidden_size=192,
            intermediate_size=384,
            num_hidden_layers=2,
            num_attention_heads=3,
            num_key_value_heads=3,
            head_dim=64,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
        )
        self.model = Qwen3ForCausalLM(config).eval()
        self.optimizer = build_optimizer(self.model, GrpoSection())

    def gradients(self, rows: Sequence[TrainingSequence], parts: Sequence[MicroBatch]) -> None:
        old_S, weights_R = flat_logprobs(rows), token_weights("sequence_mean", sampled_counts(rows))
        advantages_R = torch.linspace(-1, 1, len(rows))
        for part in parts:
            scored = score(self.model, part, temperature=1.0)
            loss, _ = grpo_loss(
                scored.logprobs,
                old_S[part.token_N],
                advantages_R[part.row_N],
                weights_R[part.row_N],
                clip_low=0.2,
                clip_high=0.2,
            )
            loss.backward()

    def shared(self, rows: Sequence[TrainingSequence], budget: int) -> tuple[float, int]:
        """Seconds of an update, and the tokens that it computed."""
        began = time.process_time()
        parts = pack(rows, budget)
        self.gradients(rows, parts)
        apply_gradients(self.optimizer, 0.0, 1.0)
        return time.process_time() - began, sum(part.tokens for part in parts)

    def apart(self, rows: Sequence[TrainingSequence]) -> float:
        began = time.process_time()
        for one in rows:
            self.gradients([one], pack([one]))
        apply_gradients(self.optimizer, 0.0, 1.0)
        return time.process_time() - began


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def measured(kind: str, updates: Updates) -> dict[str, Any]:
    make, sizes = BATCHES[kind]
    batches = {size: make(size, np.random.default_rng(size)) for size in sizes}
    found = [
        {
            "size": size,
            "rows": len(rows),
            "rows_tokens": sum(len(inputs(one)) for one in rows),
            "distinct": distinct(rows),
            "apart": updates.apart(rows),
            **{name: best(rows, updates, budget) for name, budget in BUDGETS.items()},
        }
        for size, rows in batches.items()
    ]
    return {"batches": found, "exponents": {name: exponents(found, name) for name in BUDGETS}}


def exponents(found: Sequence[dict[str, Any]], budget: str) -> dict[str, float]:
    slopes = {}
    for what in ("computed", "seconds"):
        ys = [line[budget][what] for line in found]
        for by in ("distinct", "rows_tokens"):
            xs = [line[by] for line in found]
            slopes |= {f"{what}_by_{by}": exponent(xs, ys), f"{what}_by_{by}_end": exponent(xs[-2:], ys[-2:])}
    return slopes


def best(rows: Sequence[TrainingSequence], updates: Updates, budget: int) -> dict[str, float]:
    times, counts = zip(*(updates.shared(rows, budget) for _ in range(REPEATS)), strict=True)
    return {"computed": counts[0], "seconds": min(times)}


def main() -> None:
    torch.set_num_threads(THREADS)
    updates = Updates()
    updates.shared(group(8, np.random.default_rng(0)), DEFAULT_TOKEN_BUDGET)  # loads the code
    found = {kind: measured(kind, updates) for kind in BATCHES}
    for kind, result in found.items():
        print(
            f"{kind}: size, rows, their tokens, distinct | computed, s by the default budget | in one | apart"
        )
        for line in result["batches"]:
            cells = [f"{line[name]['computed']:7}{line[name]['seconds']:8.3f}" for name in BUDGETS]
            sizes = f"{line['size']:5}{line['rows']:6}{line['rows_tokens']:8}{line['distinct']:7}"
            print(" |".join([sizes, *cells, f"{line['apart']:8.3f}"]))
        for name, slopes in result["exponents"].items():
            print(f"  {name}: " + ", ".join(f"{what} {value:.3f}" for what, value in slopes.items()))
    passed = all(
        result["exponents"]["one"][f"{what}_by_distinct"] <= limit
        for result in found.values()
        for what, limit in LIMITS.items()
    )
    out = Path(__file__).parent / "results" / "prefixes.json"
    about = {"limits": LIMITS, "passed": passed, **machine("torch", "transformers", "numpy")}
    out.write_text(json.dumps({**found, **about}, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")
    if not passed:
        raise SystemExit(f"an exponent is above its limit: {LIMITS}")


if __name__ == "__main__":
    main()
