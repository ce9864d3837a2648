"""Every algorithm on one task: a table and a plot for `docs/algorithms.md`. `make algorithms` runs it.

    python benchmarks/algorithms.py [--seeds 10 11 12] [--jobs 2] [--folder runs/algorithms] [--only PPO …]

The task is that of `configs/arithmetic.toml`; each algorithm is its file in `configs/`, and goes on from the
primed model that `arithmetic.toml` makes of its seed. Writes `benchmarks/results/algorithms.json`, the plot
`docs/images/algorithms.svg` (success of the training episodes, whose tasks were never seen before, over
sampled tokens: the mean over seeds, the band from the lowest to the highest) and the table between the marks
in `docs/algorithms.md`. Finished runs are read instead of trained again; with `--only`, the other algorithms
are as they were last measured.
"""

import argparse
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from learning import Contestant, Learned, compare, over_seeds
from machine import machine
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

HERE = Path(__file__).parent
ROOT = HERE.parent
OUT = HERE / "results" / "algorithms.json"
PRIMING = ROOT / "configs" / "arithmetic.toml"
PAGE = ROOT / "docs" / "algorithms.md"
PLOT = ROOT / "docs" / "images" / "algorithms.svg"
MARKS = ("<!-- measured -->", "<!-- end of measured -->")

FILES = {
    "SFT": "sft",
    "RFT": "rft",
    "GRPO": "grpo",
    "Dr. GRPO": "dr_grpo",
    "DAPO": "dapo",
    "GSPO": "gspo",
    "CISPO": "cispo",
    "RLOO": "rloo",
    "REINFORCE++": "reinforce_pp",
    "PPO": "ppo",
    "GiGPO": "gigpo",
}
SMOOTHED = 5
"""Steps that a point of the plot is the mean of."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/algorithms"))
    parser.add_argument("--only", nargs="+", choices=FILES, default=list(FILES))
    arguments = parser.parse_args()
    contestants = [contestant(name) for name in arguments.only]
    compared = {
        **last_measured(),
        **compare(PRIMING, contestants, arguments.seeds, arguments.folder, arguments.jobs),
    }
    runs = {name: compared[name] for name in FILES if name in compared}
    summary = {name: summarise(learned) for name, learned in runs.items()}
    PLOT.write_bytes(plot(runs))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{table(summary)}\n\n{MARKS[1]}{after}", encoding="utf-8")
    found = {
        "summary": summary,
        "runs": {name: [asdict(run) for run in learned] for name, learned in runs.items()},
        **machine("torch", "transformers"),
    }
    OUT.write_text(json.dumps(found, indent=1) + "\n")


def last_measured() -> dict[str, list[Learned]]:
    if not OUT.exists():
        return {}
    return {
        name: [Learned(**run) for run in runs] for name, runs in json.loads(OUT.read_text())["runs"].items()
    }


def contestant(name: str) -> Contestant:
    """An algorithm's file; SFT goes on with demonstrations, which `configs/sft.toml` reads from a file."""
    config = ROOT / "configs" / f"{FILES[name]}.toml"
    if name == "SFT":
        return Contestant(name, config, {"sft.data": "[]", "sft.only_successes": "false"}, phase="sft")
    return Contestant(name, config, phase="rft" if name == "RFT" else "grpo")


def summarise(runs: Sequence[Learned]) -> dict[str, Any]:
    return {
        "primed": over_seeds([run.primed["value"] for run in runs]),
        "final": over_seeds([run.final["value"] for run in runs]),
        "disjoint": sum(run.primed["high"] < run.final["low"] for run in runs),
        "seeds": len(runs),
        "tokens": fmean(sum(run.tokens[-1:]) for run in runs),
        "seconds": fmean(run.seconds for run in runs),
    }


def table(summary: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "| algorithm | success, primed → final | 95% interval over seeds | primed and final disjoint | "
        "sampled tokens | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in sorted(summary.items(), key=lambda pair: -pair[1]["final"]["value"]):
        primed, final = row["primed"], row["final"]
        low, high = max(0.0, final["low"]), min(1.0, final["high"])  # Student's interval knows no bounds
        lines.append(
            f"| {name} | {primed['value']:.2f} → {final['value']:.2f} | {low:.2f} to "
            f"{high:.2f} | {row['disjoint']} of {row['seeds']} seeds | "
            f"{row['tokens'] / 1e6:.2f} million | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def plot(runs: Mapping[str, Sequence[Learned]]) -> bytes:
    """An SVG with a small panel for each algorithm, all others in grey behind it."""
    columns = 4
    rows = -(-len(runs) // columns)
    figure = Figure(figsize=(3 * columns, 2.3 * rows), layout="constrained")
    FigureCanvasSVG(figure)
    curves = {name: _curve(learned) for name, learned in runs.items() if len(learned[0].tokens) > 1}
    for place, name in enumerate(curves, 1):
        axes = figure.add_subplot(rows, columns, place)
        for other, (tokens, mean, _, _) in curves.items():
            if other != name:
                axes.plot(tokens / 1e6, mean, color="#d5d5cf", linewidth=0.8)
        tokens, mean, low, high = curves[name]
        axes.fill_between(tokens / 1e6, low, high, color="#2a62b8", alpha=0.2, linewidth=0)
        axes.plot(tokens / 1e6, mean, color="#2a62b8", linewidth=1.6)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_ylim(0, 1)
        axes.grid(color="#e3e3dd", linewidth=0.6)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        if place > len(curves) - columns:
            axes.set_xlabel("sampled tokens, millions", fontsize=8)
        if place % columns == 1:
            axes.set_ylabel("success", fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _curve(runs: Sequence[Learned]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, and over seeds the mean, the lowest and the highest success there."""
    tokens = np.linspace(0, min(run.tokens[-1] for run in runs), 60)[1:]
    each = []
    for run in runs:
        window = np.ones(min(SMOOTHED, len(run.success)))
        smooth = np.convolve(run.success, window, "same") / np.convolve(
            np.ones(len(run.success)), window, "same"
        )
        each.append(np.interp(tokens, run.tokens, smooth))
    return tokens, np.mean(each, 0), np.min(each, 0), np.max(each, 0)


if __name__ == "__main__":
    main()
