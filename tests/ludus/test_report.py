"""The report, on runs whose episodes were played in the real environments and went through the real files."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ludus.agents.episode import Episode, Turn
from ludus.agents.evaluate import summarise
from ludus.agents.formats.base import ChatFormat
from ludus.agents.models import load_format
from ludus.agents.policy import ScriptedPolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.agents.small_model import SmallModelShape, build_small_model
from ludus.agents.store import write_episodes
from ludus.trainers.config import parse_config

ARITHMETIC = EnvironmentSpec("ludus/Arithmetic-v0", {"digits": 1})
PACMAN = EnvironmentSpec("ludus/PacManChat-v0", {"max_turns": 12})


def play(spec: EnvironmentSpec, agent: str, seeds: range, form: ChatFormat, sureness: float) -> list[Episode]:
    """A scripted agent's episodes, with the ids of its replies and log-probabilities drawn from a fixed seed."""
    episodes = rollout(ScriptedPolicy(agent), spec, [EpisodeStart(seed, i) for i, seed in enumerate(seeds)])
    return [tokenised(episode, form, sureness) for episode in episodes]


def tokenised(episode: Episode, form: ChatFormat, sureness: float) -> Episode:
    rng = np.random.default_rng(episode.seed)

    def turn(played: Turn) -> Turn:
        text = {"role": "user", "content": played.reply["content"]}
        ids = (*form.first_prompt([text]).ids[1:-2], form.stop_ids[0])  # without the role before and after
        logprobs = tuple(-rng.exponential(1 / sureness, len(ids)))
        return replace(played, completion_ids=ids, logprobs=logprobs, prompt_ids=(0,), finish="stop")

    return replace(episode, turns=tuple(turn(played) for played in episode.turns))


def metrics(phase: str, steps: int) -> list[dict[str, float | str]]:
    """Lines such as the trainer writes: noisy, rising."""
    rng = np.random.default_rng(7)
    lines: list[dict[str, float | str]] = []
    for step in range(1, steps + 1):
        done = 1 - math.exp(-2.5 * step / steps)
        noise = rng.normal(size=20)
        if phase == "sft":
            line = {
                "loss": 3.2 * (1 - done) + 0.2 + 0.05 * noise[0],
                "tokens_per_second": 9000 + 300 * noise[1],
            }
            if step % 10 == 0:
                line["heldout_loss"] = 3.2 * (1 - done) + 0.3
        else:
            success = min(1.0, max(0.0, 0.3 + 0.5 * done + 0.06 * noise[0]))
            wall = 0.4 + 0.02 * noise[3]
            line = {
                "reward": 0.2 + success, "reward_std": 0.4 + 0.05 * noise[1], "success": success,
                "terms/correct": success, "terms/closeness": min(1.0, success + 0.1),
                "terms/format": min(1.0, 0.7 + 0.3 * done + 0.02 * noise[2]), "terms/malformed": 0.1 * (1 - done),
                "completion_tokens": 18 + 2 * noise[4], "completion_tokens_max": 40 + noise[5], "turns": 1.0,
                "flat_groups": 0.3 + 0.2 * done + 0.05 * noise[6], "stop/environment:terminated": 1.0 if step % 3 else 0.98,
                "faults": 0, "entropy": 0.5 * (1 - 0.7 * done) + 0.02 * noise[7], "kl": 0.2 * done + 0.01 * abs(noise[8]),
                "mismatch_mean": 1e-7 * (1 + 0.1 * noise[9]), "mismatch_max": 2e-6 * (1 + 0.1 * noise[10]),
                "loss": -0.01 * noise[11], "grad_norm": 0.6 + 0.1 * noise[12], "ratio_mean": 1.0, "ratio_max_deviation": 0.0,
                "clip_low": 0.002 * abs(noise[13]), "clip_high": 0.004 * abs(noise[14]), "learning_rate": 1e-3 * (1 - step / steps),
                "tokens_per_second": 8000 + 400 * noise[15], "seconds/rollout": 0.6 * wall, "seconds/train": 0.4 * wall,
                "seconds/total": wall,
            }  # fmt: skip
            if step % 3 == 0:
                line["stop/fault:environment"] = 0.02
        lines.append({"phase": phase, "step": step, **{name: float(value) for name, value in line.items()}})
    return lines


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = SmallModelShape(hidden=16, layers=1, heads=1, kv_heads=1, head_dim=16, intermediate=16)
    return build_small_model([ARITHMETIC, PACMAN], shape, cache_directory=tmp_path_factory.mktemp("models"))


def make_run(folder: Path, model: Path, spec: EnvironmentSpec, tasks: int = 40, steps: int = 60) -> Path:
    """A finished run: the primed model plays at random on two tasks of three, the final one on one of six."""
    form = load_format(model)
    config = parse_config(
        {
            "run": {"name": folder.name, "seed": 3},
            "environment": {"id": spec.id, "arguments": spec.arguments},
            "grpo": {"steps": steps, "groups": 16},
            "evaluation": {"episodes": tasks},
        }
    )
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    lines = metrics("sft", 50) + metrics("grpo", steps)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seeds = range(2**32, 2**32 + tasks)
    good = play(spec, "oracle", seeds, form, 12.0)
    poor = play(spec, "random", seeds, form, 1.5)
    primed = [good[i] if i % 3 == 1 else poor[i] for i in range(tasks)]
    final = [poor[i] if i % 6 == 4 else good[i] for i in range(tasks)]
    write_episodes(folder / "episodes" / "evaluation-primed.parquet", primed)
    write_episodes(folder / "episodes" / "evaluation-final.parquet", final)
    write_episodes(folder / "episodes" / "train-000001.parquet", play(spec, "random", range(8), form, 1.5))
    write_episodes(
        folder / "episodes" / f"train-{steps:06d}.parquet", play(spec, "oracle", range(8, 16), form, 12.0)
    )
    summaries = {"primed": summarise(primed).to_dict(), "final": summarise(final).to_dict()}
    (folder / "evaluation.json").write_text(json.dumps(summaries))
    for stage in ("primed", "final"):
        (folder / "models" / stage).mkdir(parents=True)
        for file in model.iterdir():
            (folder / "models" / stage / file.name).write_bytes(file.read_bytes())
    return folder
