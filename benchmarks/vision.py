"""A small model that sees, made from scratch, learns to read a board.

    python benchmarks/vision.py [--seeds 20 21 22] [--jobs 2] [--folder runs/vision] [KEY=VALUE …]

For every seed an Idefics3 of a million parameters is made, primed on the oracle's answers and trained by GRPO
with `configs/vision.toml`, changed by the given keys (`grpo.steps=2`). A finished run is read instead of
trained again.

Prints success on held-out pictures, sampled as in training, with 95% intervals, and beside it that of the
best answer without looking, the most frequent one; writes `benchmarks/results/vision.json`. The project's
figure: with every seed the final model's interval lies above that.
"""

import argparse
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from learning import trained
from machine import machine

from ludus.agents.small_vision import SmallVisionShape, build_small_vision_model
from ludus.envs.grid.pacman.chat.text import PACMAN_SIGN
from ludus.trainers.config.reading import load_config
from ludus.trainers.mixture import mixture_of

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "vision.toml"
OUT = HERE / "results" / "vision.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 21, 22])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--folder", type=Path, default=Path("runs/vision"))
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    changes = dict(change.split("=", 1) for change in arguments.changes)
    folder = arguments.folder.resolve()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        learned_by = pool.map(lambda seed: learned(seed, folder, changes), arguments.seeds)
        runs = dict(zip(arguments.seeds, learned_by, strict=True))
    OUT.write_text(
        json.dumps({"runs": runs, "changes": changes, **machine("torch", "transformers")}, indent=2) + "\n",
        encoding="utf-8",
    )


def learned(seed: int, folder: Path, changes: dict[str, str]) -> dict[str, Any]:
    """Make a model, train it, and evaluate."""
    model, run = folder / f"model-{seed}", folder / f"run-{seed}"
    if not model.exists():
        build_small_vision_model(model, mixture_of(load_config(CONFIG)).specs, SmallVisionShape(), seed)
    evaluation = trained(CONFIG, run, {"run.seed": str(seed), "model.path": str(model), **changes})
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    success = {name: summary["success"] for name, summary in evaluation.items()}
    minutes = sum(line["seconds/total"] for line in lines) / 60
    blind = blindly(run)
    first, last = success["primed"], success["final"]
    print(
        f"seed {seed}  blindly {blind:.3f}, "
        f"primed {first['value']:.3f} [{first['low']:.3f}, {first['high']:.3f}], "
        f"final {last['value']:.3f} [{last['low']:.3f}, {last['high']:.3f}]  {minutes:.1f} min",
        flush=True,
    )
    return {"blindly": blind, **success, "minutes": minutes}


def blindly(run: Path) -> float:
    """Success of always giving the most frequent answer to the held-out pictures."""
    (episodes,) = (run / "episodes").glob("evaluation-final*.parquet")
    boards = pq.read_table(episodes, columns=["task_name"])["task_name"].to_pylist()
    places = Counter(board.index(PACMAN_SIGN) for board in boards)
    return max(places.values()) / len(boards)


if __name__ == "__main__":
    main()
