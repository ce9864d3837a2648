"""What a run's process takes before its model: Python, packages, environments, a tokenizer, and what torch
keeps for itself. Nothing says that but trying, so a fresh process does it and tells."""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from ludus.tools.errors import UserError
from ludus.trainers.config.run import RunConfig

_PROGRAM = "from ludus.trainers.plan.process import _tell; _tell()"


def process_bytes(config: RunConfig, folder: Path) -> int:
    """Resident memory of a process that has loaded everything but a model of some size.

    Args:
        folder: Of the model, for its tokenizer.

    Raises:
        UserError: the process ended.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=pickle.dumps((config, folder, sys.path)), capture_output=True
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UserError(
            f"the memory of an empty process cannot be measured: it ended with {done.returncode} "
            f"({last[0] if last else 'no message'}); does `ludus train` begin?"
        )
    return int(done.stdout.split()[-1])


def resident_bytes() -> int:
    """Of this process, now."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise KeyError("VmRSS")


def _tell() -> None:
    config, folder, path = pickle.loads(sys.stdin.buffer.read())
    sys.path[:] = path
    import torch

    from ludus.agents.models import load_format
    from ludus.trainers.metrics import MetricsWriter
    from ludus.trainers.mixture import mixture_of
    from ludus.trainers.run.job import computing

    with computing(config), tempfile.TemporaryDirectory() as scratch, MetricsWriter(Path(scratch), "sft"):
        mixture, form = mixture_of(config), load_format(folder)
        layer = torch.nn.Linear(64, 64)  # what torch makes at its first product and its first gradient
        layer(torch.ones(64, 64)).sum().backward()
        print(resident_bytes())
        del mixture, form
