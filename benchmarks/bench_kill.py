"""Kill `ludus bench` with SIGKILL at five random moments of one run, resume it each time, and compare with
an unkilled run.

    python benchmarks/bench_kill.py [--seed 0] [--n 60]

A server in another process answers by a hash of the request, and logs each request as it arrives, with its
seed and a hash of the conversation's first message, which together identify a turn of an episode. After each
kill the journal is read: no request of an episode in it may ever arrive again. At the end the figures, the
answers and the order of the episodes must equal those of the unkilled run; only measured seconds may differ.
Prints a table and writes `benchmarks/results/bench_kill.json`.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from answering_server import request_key
from bench_speed import answering
from machine import machine

from ludus.agents.bench.journal import read_journal
from ludus.agents.policy import derive_seed

HERE = Path(__file__).parent
MOMENTS = 5
SUITE = "ludus/PacManChat-v0,ludus/Arithmetic-v0"
TIMES = ("seconds", "model_seconds", "step_seconds")


def start(url: str, folder: Path, count: int) -> "subprocess.Popen[bytes]":
    options = ["--n", str(count), "--repeats", "2", "--concurrency", "16", "--max-tokens", "64"]
    ludus = str(Path(sys.executable).with_name("ludus"))
    command = [ludus, "bench", SUITE, "--model", url, "--out", str(folder), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def timeless(value: Any) -> Any:
    """Without measured times, and without the port."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in (*TIMES, "model")}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def table(folder: Path) -> tuple[Any, Any]:
    lines = (folder / "results.jsonl").read_text().splitlines()
    return timeless(json.loads((folder / "results.json").read_text())), [
        timeless(json.loads(line)) for line in lines
    ]


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def asked(journal: Path) -> set[str]:
    """All requests of the journal's finished episodes, in the form of the server's log."""
    return {
        request_key(
            {
                "messages": episode.turns[0].observation,
                "seed": derive_seed(0, derive_seed(episode.seed, episode.sample), turn) >> 32,
            }
        )
        for episode in read_journal(journal)
        for turn in range(len(episode.turns))
    }


def received(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=60)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    kills: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        whole, killed = Path(scratch) / "whole", Path(scratch) / "killed"
        with answering("--seconds", "0.05") as url:
            for folder in (Path(scratch) / "warm", whole):  # the first run fills the caches
                began = time.perf_counter()
                if code := start(url, folder, arguments.n).wait():
                    raise SystemExit(f"the unkilled run failed with exit code {code}")
                duration = time.perf_counter() - began
        log = Path(scratch) / "log"
        asked_again = 0
        with answering("--seconds", "0.05", "--log", str(log)) as url:
            while len(kills) < MOMENTS:
                process = start(url, killed, arguments.n)
                length = size(killed / "journal.jsonl")
                while size(killed / "journal.jsonl") == length and process.poll() is None:
                    time.sleep(0.01)  # until it plays
                seconds = draw.uniform(0, duration / MOMENTS / 2)
                time.sleep(seconds)
                process.send_signal(signal.SIGKILL)
                if process.wait() != -signal.SIGKILL:
                    raise SystemExit("the run ended before it could be killed five times: give a larger --n")
                time.sleep(0.5)  # requests in transit have reached the server
                finished, before = asked(killed / "journal.jsonl"), received(log)
                kills.append(
                    {"after_seconds": seconds, "requests": len(before), "finished_requests": len(finished)}
                )
                kills[-1]["log_lines"], kills[-1]["finished"] = len(before), finished
                print(f"killed after {seconds:5.2f} s: {len(finished)} requests of finished episodes")
            if code := start(url, killed, arguments.n).wait():
                raise SystemExit(f"the resumed run failed with exit code {code}")
        requests = received(log)
        for kill in kills:
            again = kill.pop("finished") & set(requests[kill.pop("log_lines") :])
            kill["asked_again"] = len(again)
            asked_again += len(again)
        same = table(killed) == table(whole)
        episodes = len(table(whole)[1])
    result = {
        "unkilled_seconds": duration,
        "episodes": episodes,
        "requests": len(requests),
        "kills": kills,
        "requests_of_finished_episodes_asked_again": asked_again,
        "same_table": same,
        **machine("httpx"),
    }
    out = HERE / "results" / "bench_kill.json"
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"same table: {same}; requests of finished episodes asked again: {asked_again}; written to {out}")
    if not same or asked_again:
        raise SystemExit("a resumed run differs from the unkilled one, or asked again")


if __name__ == "__main__":
    main()
