"""Does credit pay? One errand of many turns whose reward comes at the end, by three kinds of credit.

    python benchmarks/credit.py [--seeds 50 51 …] [--jobs 2] [--folder runs/credit]

`configs/quest.toml`, from one primed model for each seed: `group` gives every token its episode's advantage,
`turn` what was earned from its turn on, `anchor` compares turns of a group in the same state as well. All
sample the same number of episodes; an episode that succeeds sooner samples fewer tokens. Prints a table and
writes `benchmarks/results/credit.json`: success on held-out tasks, mean and 95% interval over seeds, the
tokens sampled for it, and what each has over `group` seed by seed. Seeds that the file has are read from it,
so that the comparison can be made a few seeds at a time. The project's figure: `turn` or `anchor` above
`group`, the intervals disjoint, with no more tokens.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from learning import Contestant, Learned, compare, over_seeds
from machine import machine

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs" / "quest.toml"
OUT = HERE / "results" / "credit.json"
CONTESTANTS = (
    Contestant("group", CONFIG, {"grpo.credit": "group", "grpo.gamma": "1.0", "grpo.omega": "1.0"}),
    Contestant("turn", CONFIG, {"grpo.credit": "turn", "grpo.omega": "1.0"}),
    Contestant("anchor", CONFIG, {"grpo.credit": "anchor"}),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=range(50, 66))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/credit"))
    arguments = parser.parse_args()
    known = recorded()
    missing = [seed for seed in arguments.seeds if any(seed not in known[c.name] for c in CONTESTANTS)]
    new = compare(CONFIG, CONTESTANTS, missing, arguments.folder, arguments.jobs)
    by_seed = {name: known[name] | {run.seed: run for run in learned} for name, learned in new.items()}
    runs = {name: [learned[seed] for seed in arguments.seeds] for name, learned in by_seed.items()}
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
        pairs = zip(runs[name], runs["group"], strict=True)
        row["over_group"] = over_seeds([run.final["value"] - other.final["value"] for run, other in pairs])
        row["pays"] = final["low"] > group["final"]["high"] and row["tokens"] <= group["tokens"]
        over = row["over_group"]
        print(
            f"{name:<8} {row['primed']['value']:.3f} → {final['value']:.3f} [{final['low']:.3f}, "
            f"{final['high']:.3f}]  {row['tokens']:>9,.0f} tokens  seed by seed {over['value']:+.3f} "
            f"[{over['low']:+.3f}, {over['high']:+.3f}]{'  above group' if row['pays'] else ''}"
        )
    found = {
        "summary": summary,
        "runs": {name: [asdict(run) for run in learned] for name, learned in runs.items()},
        "config": CONFIG.name,
        **machine("torch", "transformers"),
    }
    OUT.write_text(json.dumps(found, indent=1) + "\n")


def recorded() -> dict[str, dict[int, Learned]]:
    """The runs of the results file, by contestant and seed."""
    found = json.loads(OUT.read_text())["runs"] if OUT.exists() else {}
    return {c.name: {run["seed"]: Learned(**run) for run in found.get(c.name, [])} for c in CONTESTANTS}


if __name__ == "__main__":
    main()
