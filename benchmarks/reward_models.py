"""What reward models learn: planted scores, and whether length is rewarded.

    python benchmarks/reward_models.py [--pairs 250 1000 4000 16000]

Draws preferences under Bradley and Terry's model of replies whose scores are known, trains outcome models on
more and more of them, and compares: the correlation of rewards and scores (the project's figure: at least
0.99 with enough pairs), what is left of the loss when all rewards are shifted, and what a report says of a
model that was taught to reward length and of one that was not. Writes
`benchmarks/results/reward_models.json`. What search makes of a process model: `benchmarks/scaling.py`.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine

from ludus.agents.reward_model import load_reward_model
from ludus.agents.rollout import EnvironmentSpec
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.trainers.config.reading import parse_config
from ludus.trainers.data.pairs import Pair, write_pairs
from ludus.trainers.losses.reward import bradley_terry
from ludus.trainers.run.job import train

HERE = Path(__file__).parent
OUT = HERE / "results" / "reward_models.json"
REPLIES, PROMPTS = 24, 50
SPREAD = 2.5
"""Scores lie evenly between this and its negative."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, nargs="+", default=[250, 1000, 4000, 16000])
    found = planted(parser.parse_args().pairs)
    OUT.write_text(json.dumps({**found, **machine("torch", "transformers")}, indent=1) + "\n")


def planted(counts: Sequence[int]) -> dict[str, Any]:
    """By number of pairs, what a model recovers; and what is said of one that rewards length."""
    shape = SmallModelShape(hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, intermediate=64)
    base = build_small_model([EnvironmentSpec("ludus/Arithmetic-v0")], shape)
    rng = np.random.default_rng(0)
    scores = rng.permutation(np.linspace(-SPREAD, SPREAD, REPLIES))
    words = ["".join(str(digit) for digit in rng.integers(0, 10, 6)) for _ in range(REPLIES)]
    drawn = preferences(rng, scores, max(counts))
    recovered = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            pairs = [
                replies(words[one], words[other], number) for number, (one, other) in enumerate(drawn[:count])
            ]
            report, rewards = trained(base, pairs, Path(folder), words)
        row = {
            "pairs": count,
            "correlation": float(np.corrcoef(rewards, scores)[0, 1]),
            "shift": shift(rewards, drawn[:count]),
            "heldout": report,
        }
        recovered.append(row)
        print(
            f"{count:>7,} pairs: correlation {row['correlation']:.4f}, right on {report['accuracy']:.3f} of "
            f"those held out, calibration error {report['calibration_error']:.3f}; the loss shifted by 10: "
            f"{row['shift']:+.1e}"
        )
    lengths = {}
    for name, by_length in (("length", True), ("content", False)):
        with tempfile.TemporaryDirectory() as folder:
            report, _ = trained(base, by_digit_or_length(rng, by_length, 2000), Path(folder), words)
        lengths[name] = report["length"]
        print(f"taught to reward {name}: {report['length']}")
    return {"recovered": recovered, "taught": lengths}


def preferences(rng: np.random.Generator, scores: np.ndarray, count: int) -> list[tuple[int, int]]:
    """(preferred, other), drawn under Bradley and Terry's model."""
    drawn = []
    for _ in range(count):
        one, other = (int(index) for index in rng.choice(len(scores), 2, replace=False))
        if rng.random() > 1 / (1 + math.exp(scores[other] - scores[one])):
            one, other = other, one
        drawn.append((one, other))
    return drawn


def by_digit_or_length(rng: np.random.Generator, by_length: bool, count: int) -> list[Pair]:
    """Replies of 2 to 10 digits, of which the longer is chosen, or the one that begins with the larger digit;
    one in ten the other way round."""
    pairs: list[Pair] = []
    while len(pairs) < count:
        one, other = ("".join(map(str, rng.integers(0, 10, rng.integers(2, 11)))) for _ in range(2))
        better = len(one) - len(other) if by_length else int(one[0]) - int(other[0])
        if better:
            flipped = (better < 0) != (rng.random() < 0.1)
            pairs.append(replies(*((other, one) if flipped else (one, other)), len(pairs)))
    return pairs


def replies(chosen: str, rejected: str, number: int) -> Pair:
    prompt = [{"role": "user", "content": f"Number {number % PROMPTS}?"}]
    said = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
    return Pair(prompt, *said)


def trained(
    base: Path, pairs: Sequence[Pair], folder: Path, words: Sequence[str]
) -> tuple[dict[str, Any], np.ndarray]:
    """A model's report, and its mean rewards of the words over some prompts."""
    write_pairs(folder / "pairs.jsonl", pairs)
    section = {
        "data": [str(folder / "pairs.jsonl")],
        "steps": 300,
        "batch_examples": 64,
        "learning_rate": 3e-3,
        "schedule": "cosine",
        "heldout_every": 300,
    }
    none = {"steps": 0}
    config = {"model": {"path": str(base)}, "reward_model": section, "sft": none, "grpo": none}
    run = train(parse_config(config), folder / "run")
    model = load_reward_model(run / "models" / "reward")
    form = model.loaded.format
    rows = [
        (
            *form.first_prompt([*replies(word, word, number).prompt]).ids,
            *form.demonstrate(replies(word, word, number).chosen[0]),
        )
        for word in words
        for number in range(PROMPTS)
    ]
    rewards = np.array(model.rewards(rows)).reshape(-1, PROMPTS).mean(1)
    return json.loads((run / "reward_model.json").read_text()), rewards


def shift(rewards: np.ndarray, drawn: Sequence[tuple[int, int]]) -> float:
    """By how much the mean loss changes where all rewards are 10 higher."""
    chosen, rejected = (torch.tensor(rewards[list(side)]) for side in zip(*drawn, strict=True))
    none = torch.zeros_like(chosen)
    moved = bradley_terry(chosen + 10, rejected + 10, none, 0.0) - bradley_terry(chosen, rejected, none, 0.0)
    return float(moved.mean())


if __name__ == "__main__":
    main()
