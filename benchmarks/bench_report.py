"""How fast the report of a large benchmark is written, and how fast a browser opens it.

    python benchmarks/bench_report.py [--episodes 5000] [--runs 5] [--keep FOLDER]

Real episodes of the tools suite, half by the oracle and half by the random agent, which writes longer and
worse ones. The report is opened in headless Chromium from the disk, each time in a new tab; measured from the
start of the navigation until the list, its filters and the first transcript are there, and then: a search
over the index, a search over all transcripts, an episode opened. Prints a table and writes
`benchmarks/results/bench_report.json`.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from chromium import chromium
from machine import machine

from ludus.agents.bench.directory import begin
from ludus.agents.bench.journal import encode
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.run import Plan, bench, read_outcome
from ludus.agents.bench.suites import suite
from ludus.report.bench.page import write_bench_report

HERE = Path(__file__).parent
AGENTS = ("oracle", "random")
REPEATS = 2
SEARCHED = """(async () => {
  const began = performance.now();
  const field = document.getElementById("find-search");
  document.getElementById("find-deep").checked = DEEP;
  field.value = "WORD";
  field.dispatchEvent(new Event("input"));
  const count = document.getElementById("episode-count");
  const before = count.textContent;
  while (count.textContent === before || count.textContent.startsWith("searching"))
    await new Promise((resolve) => setTimeout(resolve, 5));
  return [performance.now() - began, count.textContent];
})()"""


def make_run(folder: Path, episodes: int) -> Path:
    """A run whose episodes are those of two agents."""
    specs = suite("tools")[0]
    count = -(-episodes // (len(specs) * len(AGENTS) * REPEATS))
    lines = []
    for which, agent in enumerate(AGENTS):
        plan = Plan("tools", PlayerChoice(f"scripted:{agent}"), count, REPEATS)
        played = bench(plan, folder / agent).folder
        lines += [
            encode(replace(episode, sample=which * REPEATS + episode.sample)) for episode in played.episodes()
        ]
    settings = replace(played.settings, model="two agents", repeats=len(AGENTS) * REPEATS)
    mixed = begin(folder / "mixed", settings, played.tasks, {})
    mixed.journal.write_bytes(b"".join(lines))
    return mixed.path


def opened(page: Any, report: Path) -> dict[str, float]:
    page.send("Page.navigate", url="about:blank")
    page.send("Page.navigate", url=report.as_uri())
    page.wait_for("document.documentElement?.dataset.shown")
    interactive, shown = page.evaluate(
        "[document.documentElement.dataset.ready, document.documentElement.dataset.shown].map(Number)"
    )
    index_ms, _ = page.evaluate(SEARCHED.replace("DEEP", "false").replace("WORD", "truncated 4"))
    deep_ms, told = page.evaluate(SEARCHED.replace("DEEP", "true").replace("WORD", "friday"))
    return {
        "interactive_ms": interactive,
        "first_transcript_ms": shown,
        "index_search_ms": index_ms,
        "transcript_search_ms": deep_ms,
        "transcripts_found": int(told.split(" ")[0].replace(",", "")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="a folder for the run, kept; used again if it is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        run = folder / "mixed"
        if not run.exists():
            run = make_run(folder, arguments.episodes)
        outcome = read_outcome(run)
        began = time.perf_counter()
        report = write_bench_report(outcome)
        writing = time.perf_counter() - began
        with chromium() as page:
            version = page.send("Browser.getVersion")["product"]
            runs = [opened(page, report.resolve()) for _ in range(arguments.runs)]
        results: dict[str, Any] = {
            "episodes": len(outcome.results),
            "turns": sum(result.turns for result in outcome.results),
            "report_bytes": report.stat().st_size,
            "writing_seconds": writing,
            "browser": version,
            **{name: statistics.median(each[name] for each in runs) for name in runs[0]},
            "worst_first_transcript_ms": max(each["first_transcript_ms"] for each in runs),
        }
    for name, value in results.items():
        print(f"{name:28} {value}")
    out = HERE / "results" / "bench_report.json"
    out.write_text(json.dumps({**results, **machine("gymnasium")}, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
