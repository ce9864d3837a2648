"""Self-play: how much stronger a model gets by games with itself and its past checkpoints, and whether it
forgets.

    python benchmarks/selfplay.py [--seeds 10 11 12] [--workers 1] [--jobs 2] [--folder runs/selfplay]

Each seed is a fresh process of so many workers, `jobs` of them at a time; a finished run is read instead of
trained again. Afterwards the final model plays the primed one, the anchors and every checkpoint of the
league that is still there, and the primed model the anchors: pairs of games with seats swapped, sampled as in
training. All are rated together, in Elo points, the first anchor at 0. Prints a table and writes
`benchmarks/results/selfplay.json`. The project's figures: 200 points over the primed model within half an
hour, the 95% intervals disjoint; and nobody whom a measurement of the run showed beaten, by the lower end of
the score's interval, beats the final model, by the upper end.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from learning import trained
from machine import machine

HERE = Path(__file__).parent
GAIN, SECONDS = 200.0, 1800.0
PAIRS = 200
"""Pairs of games with each opponent."""


def measure(run: Path, pairs: int) -> dict[str, Any]:
    """What came of a finished run."""
    from ludus.agents.ratings import rate
    from ludus.trainers.config.reading import load_config
    from ludus.trainers.metrics import read_metrics
    from ludus.trainers.mixture import mixture_of
    from ludus.trainers.rating import anchor_pairs
    from ludus.trainers.run.directory import final_folder, league_folders, primed_folder

    config = load_config(run / "config.toml")
    assert config.opponents is not None
    (member,) = mixture_of(config).members
    spec, anchors = member.specs[0], config.opponents.rating.anchors
    league = {f"league-{step:06d}": folder for step, folder in league_folders(run)}
    primed = {"primed": primed_folder(run)}
    of_final = play(run, final_folder(run), "final", {**primed, **league}, anchors, pairs)
    of_primed = play(run, primed_folder(run), "primed", {}, anchors, pairs)
    pool = [pair for pair in of_final if pair.players[1] not in league]
    ratings = rate([*pool, *of_primed, *anchor_pairs(spec, anchors)], {anchors[0]: 0.0})
    elo = {name: vars_of(ratings[name].elo) for name in ("primed", "final", *anchors)}
    scores = {name: score(of_final, name) for name in ("primed", *anchors, *league)}
    lines = [line for line in read_metrics(run) if line["phase"] == "grpo"]
    course = {
        name: [[line["step"], line[name]] for line in lines if name in line]
        for name in sorted({name for line in lines for name in line if name.startswith("rating/")})
    }
    beaten = {
        name: any(surely_won(float(value), config.opponents.rating.pairs) for _, value in values)
        for name in (*anchors, *league)
        if (values := course.get(f"rating/{member.name}/score/{name}"))
    }
    return {
        "seed": config.run.seed,
        "seconds": seconds_of(run),
        "elo": elo,
        "gain": elo["final"]["value"] - elo["primed"]["value"],
        "disjoint": elo["primed"]["high"] < elo["final"]["low"],
        "scores": scores,
        "beaten_before": beaten,
        "lost_to": [name for name, was in beaten.items() if was and scores[name]["high"] < 0.5],
        "course": course,
    }


def seconds_of(run: Path) -> float:
    """From a run's begin to the evaluation of its final model; pauses count."""
    return (run / "evaluation.json").stat().st_mtime - (run / "config.toml").stat().st_mtime


def play(
    run: Path, folder: Path, name: str, others: Mapping[str, Path], anchors: Sequence[str], pairs: int
) -> list[Any]:
    """Seed pairs of a model of the run with others and the anchors."""
    from ludus.trainers.config.reading import load_config
    from ludus.trainers.mixture import mixture_of
    from ludus.trainers.parallel.play import play_games
    from ludus.trainers.parallel.team import Team
    from ludus.trainers.rating import paired_jobs, seed_pairs
    from ludus.trainers.run.policy import load_policy

    config = load_config(run / "config.toml")
    jobs = paired_jobs(mixture_of(config).members[0].specs[0], [*anchors, *others], pairs)
    with Team(config) as team, team.computing_with(load_policy(folder, config)):
        games, _ = play_games(team, jobs, config.evaluation.temperature, others)
    return seed_pairs(games, name)


def score(pairs: Sequence[Any], opponent: str) -> dict[str, float]:
    """The mean score against an opponent, with its 95% interval over pairs."""
    from ludus.agents.statistics import clustered_share

    scores = [pair.points / 2 for pair in pairs if pair.players[1] == opponent]
    return vars_of(clustered_share(scores, 2 * len(scores)))


def surely_won(mean: float, pairs: int) -> bool:
    """Whether the 95% interval of a mean score lies above ½."""
    from ludus.agents.statistics import wilson_share

    return wilson_share(mean, 2 * pairs).low > 0.5


def vars_of(interval: Any) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "selfplay.toml")
    parser.add_argument("--workers", type=int, default=1, help="of each run")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--folder", type=Path, default=Path("runs/selfplay"))
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of games with each opponent")
    arguments = parser.parse_args()
    folder, workers = arguments.folder.resolve(), str(arguments.workers)

    def finished(seed: int) -> Path:
        run = folder / str(seed)
        trained(arguments.config, run, {"run.seed": str(seed), "run.workers": workers})
        return run

    with ThreadPoolExecutor(arguments.jobs) as pool:
        folders = list(pool.map(finished, arguments.seeds))
    runs = []
    for place in folders:
        run = measure(place, arguments.pairs)
        runs.append(run)
        primed, final = (run["elo"][name] for name in ("primed", "final"))
        told = [f"{elo['value']:.0f} [{elo['low']:.0f}, {elo['high']:.0f}]" for elo in (primed, final)]
        print(
            f"seed {run['seed']}: {told[0]} → {told[1]}, {run['gain']:+.0f} Elo in {run['seconds']:.0f} s; "
            f"lost to {', '.join(run['lost_to']) or 'nobody'} whom it beat before"
        )
        for name, value in run["scores"].items():
            print(f"    against {name:<14} {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]")
    result = {
        "runs": runs,
        "gain_reached": all(
            run["gain"] >= GAIN and run["disjoint"] and run["seconds"] <= SECONDS for run in runs
        ),
        "forgot_nobody": not any(run["lost_to"] for run in runs),
        "config": arguments.config.name,
        "workers": arguments.workers,
        "jobs": arguments.jobs,
        "pairs": arguments.pairs,
        **machine("torch", "transformers", "numpy"),
    }
    out = HERE / "results" / "selfplay.json"
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
