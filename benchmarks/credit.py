"""Does credit pay? Errands of many turns, each rewarded when it is done, by three kinds of credit.

    python benchmarks/credit.py [--seeds 40 41 42 43 44] [--jobs 2] [--folder runs/credit]

`configs/quest.toml`, all from one primed model, which is primed with the first seed, so that what differs is
the credit and the luck of training: `group` gives every token its episode's advantage, `turn` what was earned
from its turn on, `anchor` compares turns of a group in the same state as well. All sample the same number of
episodes; an episode that succeeds sooner samples fewer tokens. Prints a table and writes
`benchmarks/results/credit.json`: success (all errands done) on held-out tasks, mean and 95% interval over
seeds, and the tokens sampled for it. The project's figure: `turn` or `anchor` above `group`, the intervals
disjoint, with no more tokens.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from learning import Contestant, compare, over_seeds
from machine import machine

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "quest.toml"
OUT = HERE / "results" / "credit.json"
CONTESTANTS = (
    Contestant("group", CONFIG, {"grpo.credit": "group", "grpo.gamma": "1.0"}),
    Contestant("turn", CONFIG),
    Contestant("anchor", CONFIG, {"grpo.credit": "anchor", "grpo.omega": "4.0"}),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[40, 41, 42, 43, 44])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/credit"))
    arguments = parser.parse_args()
    seeds = arguments.seeds
    runs = compare(CONFIG, CONTESTANTS, seeds, arguments.folder, arguments.jobs, primed_by=seeds[0])
    summary = {
        name: {
            "primed": over_seeds([run.primed["value"] for run in learned]),
            "final": over_seeds([run.final["value"] for run in learned]),
            "tokens": fmean(run.tokens[-1] for run in learned),
        }
        for name, learned in runs.items()
    }
    group = summary["group"]
    for name, row in summary.items():
        final = row["final"]
        row["pays"] = final["low"] > group["final"]["high"] and row["tokens"] <= group["tokens"]
        print(
            f"{name:<8} {row['primed']['value']:.3f} → {final['value']:.3f} [{final['low']:.3f}, "
            f"{final['high']:.3f}]  {row['tokens']:>9,.0f} tokens{'  above group' if row['pays'] else ''}"
        )
    found = {
        "summary": summary,
        "runs": {name: [asdict(run) for run in learned] for name, learned in runs.items()},
        "config": CONFIG.name,
        **machine("torch", "transformers"),
    }
    OUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
