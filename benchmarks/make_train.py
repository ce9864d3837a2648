"""`make train` and `make test` from a fresh clone, as a newcomer runs them.

    python benchmarks/make_train.py [--skip-test]

Clones the last commit into an empty folder, so packages are installed from pip's cache, then times both
commands. Prints a table and writes `benchmarks/results/make_train.json`. The project's figures: at most 6
minutes from `make train` to the report with the packages already downloaded, at most 8 minutes for
`make test` once installed.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

HERE = Path(__file__).parent
LIMITS = {"make train": 360, "make test": 480}


def timed(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--skip-test", action="store_true", help="time `make train` only")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "ludus"
        subprocess.run(["git", "clone", "--quiet", str(HERE.parent), str(clone)], check=True)
        # A cached small model would spare the clone work that a newcomer has to do.
        cache = ["XDG_CACHE_HOME=" + str(Path(scratch) / "cache"), "PIP_CACHE_DIR=" + pip_cache()]
        seconds = {"make train": timed(["env", *cache, "make", "train", "NAME=timed"], clone)}
        evaluation: dict[str, Any] = json.loads((clone / "runs/timed/evaluation.json").read_text())
        assert (clone / "runs/timed/report.html").exists()
        if not arguments.skip_test:
            subprocess.run(["env", *cache, "make", ".venv/dev"], cwd=clone, check=True)
            seconds["make test"] = timed(["env", *cache, "make", "test"], clone)

    for command, took in seconds.items():
        print(f"{command:12} {took:6.1f} s   (limit {LIMITS[command]} s)")
    result = {
        "seconds": seconds,
        "limits": LIMITS,
        "within_limits": all(took <= LIMITS[command] for command, took in seconds.items()),
        "success": {stage: summary["success"] for stage, summary in evaluation.items()},
        **machine("torch", "transformers", "pytest"),
    }
    (HERE / "results" / "make_train.json").write_text(json.dumps(result, indent=2) + "\n")


def pip_cache() -> str:
    return subprocess.run(
        ["python3", "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    main()
