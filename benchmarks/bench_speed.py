"""How fast `ludus bench` plays: the scripted oracle on the tools suite, and a served model at 200 ms per
answer.

    python benchmarks/bench_speed.py [--suite tools] [--n 1000] [--served 20000]

Oracle: episodes per second while playing, over all worker processes, for the suite and for each of its
environments; also for the whole command, with start-up, task lists, baselines and report. Served: a server in
another process takes 200 ms per answer, 256 requests are in flight, and every episode is one turn, so the
ideal is 256 / 0.2 s = 1,280 episodes per second from the first request to the last answer. Prints a table and
writes `benchmarks/results/bench_speed.json`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import machine

from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.run import Listener, Plan, bench
from ludus.agents.bench.suites import suite

HERE = Path(__file__).parent
IN_FLIGHT, ANSWER_SECONDS = 256, 0.2
SERVED = "ludus/Arithmetic-v0"


class Watch(Listener):
    """How many of the model's own episodes were played, and how long that took."""

    def __init__(self) -> None:
        self.episodes, self.seconds, self.notes = 0, 0.0, list[str]()

    def ended(self, who: str, episodes: int, seconds: float) -> None:
        if not who.startswith("baseline"):
            self.episodes, self.seconds = episodes, seconds

    def note(self, text: str) -> None:
        self.notes.append(text)


def measure(plan: Plan) -> dict[str, Any]:
    watch = Watch()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome = bench(plan, Path(folder) / "run", watch)
    return {
        "suite": plan.suite,
        "episodes": watch.episodes,
        "playing_seconds": watch.seconds,
        "episodes_per_second": watch.episodes / watch.seconds,
        "command_seconds": time.perf_counter() - began,
        "success": {row.tasks.label: row.figures.success.value for row in outcome.rows},
        "faults": sum(row.figures.faults for row in outcome.rows),
        "notes": watch.notes,
    }


@contextmanager
def answering(*options: str) -> Any:
    """The URL of a server in another process."""
    command = [sys.executable, str(HERE / "answering_server.py"), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        process.communicate()


def served(tasks: int) -> dict[str, Any]:
    with answering("--seconds", str(ANSWER_SECONDS)) as url:
        player = PlayerChoice(url, max_tokens=64)
        count = min(tasks, 2000)
        plan = Plan(SERVED, player, count=count, repeats=-(-tasks // count), concurrency=IN_FLIGHT)
        measured = measure(plan)
    ideal = IN_FLIGHT / ANSWER_SECONDS
    return {
        **measured,
        "in_flight": IN_FLIGHT,
        "answer_seconds": ANSWER_SECONDS,
        "ideal_per_second": ideal,
        "share_of_ideal": measured["episodes_per_second"] / ideal,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", default="tools")
    parser.add_argument("--n", type=int, default=1000, help="tasks an environment, none twice")
    parser.add_argument("--served", type=int, default=20_000, help="episodes of the served model")
    arguments = parser.parse_args()
    oracle = PlayerChoice("scripted:oracle")
    measure(Plan(arguments.suite, oracle, count=20))  # builds the worlds that are cached on disk
    results: dict[str, Any] = {"suite": measure(Plan(arguments.suite, oracle, count=arguments.n))}
    results["environments"] = [
        measure(Plan(spec.id, oracle, count=arguments.n)) for spec in suite(arguments.suite)[0]
    ]
    results["served"] = served(arguments.served)
    for result in (results["suite"], *results["environments"], results["served"]):
        print(
            f"{result['suite']:28} {result['episodes']:6} episodes  {result['episodes_per_second']:8.1f}/s  "
            f"playing {result['playing_seconds']:6.1f} s  command {result['command_seconds']:6.1f} s"
        )
    print(f"served: {results['served']['share_of_ideal']:.1%} of the ideal throughput")
    out = HERE / "results" / "bench_speed.json"
    out.write_text(
        json.dumps({**results, **machine("gymnasium", "httpx")}, indent=2) + "\n", encoding="utf-8"
    )
    print(f"written to {out}")


if __name__ == "__main__":
    main()
