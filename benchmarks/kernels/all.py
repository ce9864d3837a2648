"""Every operator's benchmark, each in its own process: a kernel that crashes affects no other.

python benchmarks/kernels/all.py                      # on a GPU, about eight minutes
python benchmarks/kernels/all.py --device cpu --shapes tiny --out /tmp/smoke
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import report
import torch

OPERATORS = (
    "logprob_entropy",
    "linear_logprob",
    "support_logprob",
    "grpo_loss",
    "group_advantage",
    "add_rmsnorm",
    "swiglu",
    "rope",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("operators", nargs="*", default=OPERATORS, help="all of them by default")
    report.add_options(parser)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU here, so nothing was measured and nothing is written")
        return 2
    failed = []
    for operator in arguments.operators:
        begun = time.perf_counter()
        script = Path(__file__).with_name(f"{operator}.py")
        options = ["--device", arguments.device, "--shapes", arguments.shapes, "--out", str(arguments.out)]
        if subprocess.run([sys.executable, str(script), *options], check=False).returncode:
            failed.append(operator)
        print(f"{operator}: {time.perf_counter() - begun:.0f} s\n", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
