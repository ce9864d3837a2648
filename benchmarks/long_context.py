"""An update on the samples of one long prompt: as a tree, where the prompt is there once, and row by row.

    python benchmarks/long_context.py [--repeats 2] [--threads 2]

A group of 8 samples: a prompt of 2,048 random tokens, completions of 512. The update is what a step of GRPO
computes of it: log-probabilities of the sampled tokens, and the gradients of a loss. Both ways give the same
gradients, which is measured, too; the fastest repeat counts. The models are random: the main job's, and one
layer of Qwen3-0.6B's and of Qwen3-8B's shape. The shape matters, since a completion's tokens need as much
attention in a tree: the share of the rows' multiply-adds that the tree needs is told beside that of their
time. Prints a table and writes `benchmarks/results/long_context.json`. The project's figure: the tree takes
at most a third of the rows' time.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import machine
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from ludus.agents.episode import TrainingSequence
from ludus.trainers.batches.packing import MicroBatch, pack
from ludus.trainers.models.forward import score

OUT = Path(__file__).parent / "results" / "long_context.json"
SAMPLES, PROMPT, COMPLETION = 8, 2048, 512
WORDS = 1024


@dataclass(frozen=True, slots=True)
class Shape:
    layers: int
    width: int
    inner: int
    """Of the feed-forward layers."""
    heads: int
    key_heads: int
    head: int
    """Width of a head."""

    @property
    def layer_weights(self) -> int:
        attention = 2 * (self.heads + self.key_heads) * self.head
        return self.width * (attention + 3 * self.inner)


SHAPES = {
    "main job": Shape(layers=5, width=128, inner=384, heads=4, key_heads=2, head=32),
    "layer of Qwen3-0.6B": Shape(layers=1, width=1024, inner=3072, heads=16, key_heads=8, head=128),
    "layer of Qwen3-8B": Shape(layers=1, width=4096, inner=12288, heads=32, key_heads=8, head=128),
}
LIMIT = 1 / 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = samples()
    ways = {"tree": pack(rows, SAMPLES * (PROMPT + COMPLETION)), "rows": pack(rows, PROMPT + COMPLETION)}
    assert [len(micro_batches) for micro_batches in ways.values()] == [1, SAMPLES]
    tokens = {way: sum(micro.tokens for micro in micro_batches) for way, micro_batches in ways.items()}
    found = {}
    for name, shape in SHAPES.items():
        model = build(shape)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        gradients: dict[str, Tensor] = {}
        update(model, ways["rows"][:1])
        model.zero_grad()
        for _ in range(arguments.repeats):
            for way, micro_batches in ways.items():
                began = time.perf_counter()
                update(model, micro_batches)
                seconds[way].append(time.perf_counter() - began)
                gradients[way] = torch.cat(
                    [p.grad.flatten() for p in model.parameters() if p.grad is not None]
                )
                model.zero_grad()
        tree, alone = (min(times) for times in seconds.values())
        apart = (gradients["tree"] - gradients["rows"]).norm() / gradients["rows"].norm()
        needed = least(shape)
        found[name] = {
            "tree": tree,
            "rows": alone,
            "of rows": tree / alone,
            "of multiply-adds": needed,
            "apart": apart.item(),
        }
        print(
            f"{name}: tree {tree:.2f} s, rows {alone:.2f} s: {tree / alone:.3f} of it, {needed:.3f} of its "
            f"multiply-adds; gradients {apart:.1e} apart"
        )
    reached = {name: row["of rows"] <= LIMIT for name, row in found.items()}
    about = {"threads": arguments.threads, "tokens": tokens, **machine("torch", "transformers")}
    OUT.write_text(json.dumps({"updates": found, "reached": reached, **about}, indent=2) + "\n")


def samples() -> list[TrainingSequence]:
    torch.manual_seed(0)
    prompt = torch.randint(WORDS, (PROMPT,)).tolist()
    sampled = (False,) * PROMPT + (True,) * COMPLETION
    return [
        TrainingSequence(
            (*prompt, *torch.randint(WORDS, (COMPLETION,)).tolist()), sampled, (0.0,) * len(sampled)
        )
        for _ in range(SAMPLES)
    ]


def least(shape: Shape) -> float:
    """The share of the rows' multiply-adds that the tree needs; of causal attention, those that count."""
    tokens = PROMPT + SAMPLES * COMPLETION, SAMPLES * (PROMPT + COMPLETION)
    pairs = (
        PROMPT**2 / 2 + SAMPLES * COMPLETION * (PROMPT + COMPLETION / 2),
        SAMPLES * (PROMPT + COMPLETION) ** 2 / 2,
    )
    words = SAMPLES * COMPLETION * WORDS * shape.width
    a_pair = 2 * shape.heads * shape.head
    tree, alone = (
        words + shape.layers * (shape.layer_weights * t + a_pair * p)
        for t, p in zip(tokens, pairs, strict=True)
    )
    return tree / alone


def build(shape: Shape) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=WORDS,
            hidden_size=shape.width,
            intermediate_size=shape.inner,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_heads,
            head_dim=shape.head,
            max_position_embeddings=PROMPT + COMPLETION,
            tie_word_embeddings=True,
        )
    )


def update(model: Qwen3ForCausalLM, micro_batches: Sequence[MicroBatch]) -> None:
    """Gradients of the mean over tokens, each weighed by an advantage of its row."""
    advantages_R = torch.linspace(-1, 1, SAMPLES)
    for micro in micro_batches:
        logprobs_N = score(model, micro, 1.0).logprobs
        (-(advantages_R[micro.row_N] * logprobs_N).sum() / (SAMPLES * COMPLETION)).backward()


if __name__ == "__main__":
    main()
