"""What reward models learn, and what search makes of one.

    python benchmarks/reward_models.py planted
    python benchmarks/reward_models.py search [--folder runs/reward_models] [--episodes 256] [--seeds 3]

`planted` draws preferences under Bradley and Terry's model of replies whose scores are known, trains outcome
models on more and more of them, and compares: the correlation of rewards and scores (the project's figure: at
least 0.99 with enough pairs), what is left of the loss when all rewards are shifted, and what a report says
of a model that was taught to reward length and of one that was not.

`search` primes the policy of `configs/quest.toml`, trains the process model of `configs/process_model.toml`
on it by rollouts, and plays held-out tasks: single samples, majority votes, best-of-n and beam search by the
process model, none of which sees a reward. The project's figure: beam search beats a majority vote that
samples at least as many tokens.

Each writes its part of `benchmarks/results/reward_models.json`.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from learning import prime
from machine import machine

from ludus.agents.episode import Episode
from ludus.agents.models import load_model
from ludus.agents.policy import Policy
from ludus.agents.reward_model import load_reward_model
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout_mixed
from ludus.agents.scorers.base import Cached
from ludus.agents.scorers.reward_model import RewardModelScorer
from ludus.agents.search.beam import Beam
from ludus.agents.search.best_of_n import BestOfN
from ludus.agents.search.majority import Majority
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.agents.statistics import bootstrap_mean
from ludus.trainers.config.reading import load_config, parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.data.pairs import Pair, write_pairs
from ludus.trainers.losses.reward import bradley_terry
from ludus.trainers.mixture import mixture_of
from ludus.trainers.run.job import train
from ludus.trainers.run.policy import engine_policy, run_engine
from ludus.trainers.tasks import Task, hold_out_tasks

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
OUT = HERE / "results" / "reward_models.json"
REPLIES, PROMPTS = 24, 50
SPREAD = 2.5
"""Scores lie evenly between this and its negative."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("planted", "search"))
    parser.add_argument("--pairs", type=int, nargs="+", default=[250, 1000, 4000, 16000])
    parser.add_argument("--folder", type=Path, default=Path("runs/reward_models"))
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.part == "planted":
        found: dict[str, Any] = planted(arguments.pairs)
    else:
        found = search(arguments.folder, arguments.episodes, range(arguments.seeds))
    results = json.loads(OUT.read_text()) if OUT.exists() else {}
    results |= {arguments.part: {**found, **machine("torch", "transformers")}}
    OUT.write_text(json.dumps(results, indent=1) + "\n")


# Planted scores


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


# Search


@dataclass(frozen=True)
class Played:
    """A way of using the policy, over tasks and seeds."""

    name: str
    tokens: float
    """Sampled for an episode, in all lines that were tried."""
    success: float
    low: float
    high: float
    by_task: list[float]


def search(folder: Path, episodes: int, seeds: Sequence[int]) -> dict[str, Any]:
    quest = CONFIGS / "quest.toml"
    prime(quest, 0, folder)
    primed = folder / "primed-0" / "models" / "primed"
    config = load_config(
        CONFIGS / "process_model.toml",
        {"model.path": str(primed), "evaluation.episodes": str(episodes)},
    )
    run = train(config, folder / "process", resume=(folder / "process" / "config.toml").exists())
    report = json.loads((run / "reward_model.json").read_text())
    scorer = Cached(RewardModelScorer(load_reward_model(run / "models" / "reward")))
    loaded = load_model(primed)
    engine = run_engine(loaded, config)
    policy = engine_policy(engine, loaded, config, temperature=1.0)
    tasks = hold_out_tasks(mixture_of(config), config).evaluation
    ways: dict[str, Policy] = {"single": policy}
    ways |= {f"majority-{n}": Majority(policy, n) for n in (4, 8, 16, 32)}
    ways |= {f"best-of-{n}, process": BestOfN(policy, n, score=scorer) for n in (4, 8, 16)}
    ways |= {f"beam-{n}, process": Beam(policy, width=n, samples=n, score=scorer) for n in (2, 3, 4)}
    played = []
    for name, way in ways.items():
        played.append(summary(name, play(way, tasks, seeds, config), len(tasks)))
        row = played[-1]
        print(f"{name:<22} {row.tokens:>8,.0f} tokens  {row.success:.3f} [{row.low:.3f}, {row.high:.3f}]")
    engine.close()
    votes = sorted((row for row in played if row.name.startswith("majority")), key=lambda row: row.tokens)
    beside = []
    for row in (row for row in played if row.name.startswith("beam")):
        vote = next((vote for vote in votes if vote.tokens >= row.tokens), votes[-1])
        over = bootstrap_mean([mine - its for mine, its in zip(row.by_task, vote.by_task, strict=True)])
        beats = over.low > 0 and vote.tokens >= row.tokens
        beside.append({"beam": row.name, "majority": vote.name, "over": asdict(over), "beats": beats})
        print(f"{row.name} over {vote.name}: {over.value:+.3f} [{over.low:+.3f}, {over.high:+.3f}]")
    return {"process_model": report, "played": [asdict(row) for row in played], "beside_majority": beside}


def play(way: Policy, tasks: Sequence[Task], seeds: Sequence[int], config: RunConfig) -> list[Episode]:
    jobs = [
        (task.spec, EpisodeStart(task.seed, number, seed))
        for number, task in enumerate(tasks)
        for seed in seeds
    ]
    return rollout_mixed(way, jobs, config.rollout.limits, config.rollout.concurrency)


def summary(name: str, episodes: Sequence[Episode], tasks: int) -> Played:
    by_task = [
        fmean(episode.success for episode in episodes if episode.group == task) for task in range(tasks)
    ]
    tokens = fmean(sum(turn.completion_tokens for turn in episode.turns) for episode in episodes)
    shown = bootstrap_mean(by_task)
    return Played(name, tokens, shown.value, shown.low, shown.high, by_task)


if __name__ == "__main__":
    main()
