"""The main job over three seeds: how long it takes, and how much better the policy is afterwards.

    python benchmarks/train.py [--seeds 0 1 2] [--config configs/arithmetic.toml]

Each seed is a fresh process (imports count). Prints a table and writes `benchmarks/results/train.json`. The
project's figures: success on held-out tasks up by at least 0.25, the 95% intervals of primed and final
disjoint. The same tasks are then played greedily by both models, whatever the configuration evaluates with.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

HERE = Path(__file__).parent
RISE = 0.25
PROGRAM = """
import sys
from ludus.trainers.config import load_config
from ludus.trainers.run import train
config, run, seed = sys.argv[1:]
train(load_config(config, {"run.seed": seed}), run)
"""

GREEDY = """
import json, sys
from pathlib import Path
from ludus.agents.evaluate import summarise
from ludus.agents.rollout import EpisodeStart, rollout
from ludus.trainers.config import load_config
from ludus.trainers.run import embedded_engine, engine_policy, load_policy, make_environment
from ludus.trainers.tasks import hold_out
run = Path(sys.argv[1])
config = load_config(run / "config.toml")
evaluation, found = config.evaluation, {}
held_out = hold_out(make_environment(config), evaluation.episodes, evaluation.first_seed)
starts = [EpisodeStart(seed) for seed in held_out.seeds]
for stage in ("primed", "final"):
    policy = load_policy(run / "models" / stage, config)
    player = engine_policy(embedded_engine(policy, config), policy, config, temperature=0.0)
    spec, rules = config.environment.spec, config.rollout
    episodes = rollout(player, spec, starts, rules.limits, rules.concurrency)
    found[stage] = summarise(episodes).to_dict()["success"]
(run / "greedy.json").write_text(json.dumps(found))
"""


def measure(config: Path, run: Path, seed: int) -> dict[str, Any]:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", PROGRAM, str(config), str(run), str(seed)], check=True)
    seconds = time.perf_counter() - began
    evaluation = json.loads((run / "evaluation.json").read_text())
    primed, final = evaluation["primed"]["success"], evaluation["final"]["success"]
    subprocess.run([sys.executable, "-c", GREEDY, str(run)], check=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "seed": seed,
        "seconds": seconds,
        "seconds_by_phase": {
            phase: sum(line["seconds/total"] for line in lines if line["phase"] == phase)
            for phase in ("sft", "grpo")
        },
        "tasks": evaluation["final"]["episodes"],
        "primed": primed,
        "final": final,
        "rise": final["value"] - primed["value"],
        "disjoint": primed["high"] < final["low"],
        "greedy": json.loads((run / "greedy.json").read_text()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "arithmetic.toml")
    arguments = parser.parse_args()
    runs = []
    print(f"{'seed':>4} {'seconds':>8}   {'primed':<22} {'final':<22} {'rise':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            run = measure(arguments.config, Path(folder) / str(seed), seed)
            runs.append(run)
            shown = [
                f"{x['value']:.3f} [{x['low']:.3f}, {x['high']:.3f}]" for x in (run["primed"], run["final"])
            ]
            print(f"{seed:>4} {run['seconds']:>8.1f}   {shown[0]:<22} {shown[1]:<22} {run['rise']:>6.3f}")
    result = {
        "runs": runs,
        "reached": all(run["rise"] >= RISE and run["disjoint"] for run in runs),
        "config": arguments.config.name,
        **machine("torch", "transformers", "numpy"),
    }
    out = HERE / "results" / f"train-{arguments.config.stem}.json"
    if arguments.config.stem == "arithmetic":
        out = HERE / "results" / "train.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
