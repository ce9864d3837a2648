"""DPO and IPO from pairs of a primed run's episodes, and DPO online: what they add to the primed model's
success.

    python benchmarks/preferences.py [--seeds 10 11 12] [--jobs 2] [--folder runs/preferences] [--episodes
    8192]

Of each seed: the primed model of `configs/arithmetic.toml`, episodes that it plays on training tasks (those
of an iteration of rejection sampling, whose training is left aside), pairs of them by success as `ludus
pairs` makes them, and training on these alone, from the primed model: `configs/dpo.toml` with the file as its
data, for each of `KINDS`. Beside it `configs/dpo.toml` as it is, which plays its pairs anew in every step.
Prints success on held-out tasks, which neither episodes nor pairs are of, and writes it to
`benchmarks/results/preferences.json`. Fails unless DPO from the file lifts it with every seed, with disjoint
95% intervals. Finished runs are read instead of trained again.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from learning import Contestant, Learned, go_on, over_seeds, prime
from machine import machine

HERE = Path(__file__).parent
OUT = HERE / "results" / "preferences.json"
CONFIGS = HERE.parent / "configs"
SAMPLES, MOST = 8, 4
KINDS: dict[str, dict[str, str]] = {
    "dpo": {},
    "dpo, without sft": {"preferences.sft_coefficient": "0.0"},
    "dpo, length-normalised": {"preferences.length_normalised": "true", "preferences.beta": "10.0"},
    "ipo": {"preferences.loss": "ipo", "preferences.beta": "0.1"},
}
STORED = {
    "preferences.steps": "100",
    "preferences.batch_pairs": "32",
    "preferences.tasks": "16",
    "preferences.samples": "8",
    "preferences.most": "1",
}
"""For pairs of a file, beside what `configs/dpo.toml` has; the last three are the defaults, since nothing is
played."""
ONLINE = "dpo, online"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/preferences"))
    parser.add_argument("--episodes", type=int, default=8192, help="that the primed model plays for pairs")
    parser.add_argument("--only", nargs="+", choices=[*KINDS, ONLINE], default=[*KINDS, ONLINE])
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda seed: prime(CONFIGS / "arithmetic.toml", seed, folder), arguments.seeds))
        made = list(pool.map(lambda seed: pairs_of(seed, folder, arguments.episodes), arguments.seeds))
        jobs = [(kind, seed) for seed in arguments.seeds for kind in arguments.only]
        learned = list(pool.map(lambda job: go_on(contestant(job[0], job[1], folder), job[1], folder), jobs))
    runs = {
        kind: [run for (of, _), run in zip(jobs, learned, strict=True) if of == kind]
        for kind in arguments.only
    }
    summary = {kind: summarise(own) for kind, own in runs.items()}
    for kind, row in summary.items():
        print(
            f"{kind:24} {row['primed']['value']:.3f} → {row['final']['value']:.3f}  disjoint with "
            f"{row['disjoint']} of {row['seeds']} seeds"
        )
    found = {
        "pairs": dict(zip(map(str, arguments.seeds), made, strict=True)),
        "summary": summary,
        "runs": {kind: [asdict(run) for run in own] for kind, own in runs.items()},
        **machine("torch", "transformers"),
    }
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int("dpo" in summary and summary["dpo"]["disjoint"] < summary["dpo"]["seeds"])


def pairs_of(seed: int, folder: Path, episodes: int) -> dict[str, int]:
    """Make the file of a seed's pairs."""
    from ludus.trainers.data.group_pairs import Count, group_pairs
    from ludus.trainers.data.pairs import write_pairs

    changes = {
        "rft.iterations": "1",
        "rft.tasks": str(episodes // SAMPLES),
        "rft.samples": str(SAMPLES),
        "rft.steps": "1",
    }
    go_on(Contestant("played", CONFIGS / "rft.toml", changes, phase="rft"), seed, folder)
    count = Count()
    pairs = group_pairs(folder / f"played-{seed}", "success", MOST, count=count)
    return {"pairs": write_pairs(_file(seed, folder), pairs), "groups": count.groups, "alike": count.alike}


def contestant(kind: str, seed: int, folder: Path) -> Contestant:
    config = CONFIGS / "dpo.toml"
    if kind == ONLINE:
        return Contestant(kind, config, phase="preferences")
    data = json.dumps([str(_file(seed, folder).resolve())])
    return Contestant(kind, config, {"preferences.data": data, **STORED, **KINDS[kind]}, phase="preferences")


def _file(seed: int, folder: Path) -> Path:
    return folder / f"pairs-{seed}.jsonl"


def summarise(runs: Sequence[Learned]) -> dict[str, Any]:
    return {
        "primed": over_seeds([run.primed["value"] for run in runs]),
        "final": over_seeds([run.final["value"] for run in runs]),
        "disjoint": sum(run.primed["high"] < run.final["low"] for run in runs),
        "seeds": len(runs),
        "seconds": sum(run.seconds for run in runs) / len(runs),
    }


if __name__ == "__main__":
    sys.exit(main())
