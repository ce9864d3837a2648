"""What a run's process takes before its model: Python, packages, environments, a tokenizer, the engine's
kernels, and what torch keeps for itself. Nothing says that but trying: a fresh process does it and tells."""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ludus.tools.errors import UserError
from ludus.trainers.config.run import RunConfig
from ludus.trainers.plan.models import Source

_PROGRAM = "from ludus.trainers.plan.process import _tell; _tell()"


def process_bytes(config: RunConfig, source: Source) -> int:
    """Resident memory of a process that has loaded everything but a model of some size.

    Args:
        source: Of the model, for its tokenizer and the shape of its heads.

    Raises:
        UserError: the process ended.
    """
    _ask(config, source)  # kernels may be compiled now, which takes memory that later starts do not
    return _ask(config, source)


def _ask(config: RunConfig, source: Source) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=pickle.dumps((config, source, sys.path)), capture_output=True
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
    config, source, path = pickle.loads(sys.stdin.buffer.read())
    sys.path[:] = path
    import torch

    from ludus.agents.models import load_format
    from ludus.trainers.metrics import MetricsWriter
    from ludus.trainers.mixture import mixture_of
    from ludus.trainers.run.job import computing

    with computing(config), tempfile.TemporaryDirectory() as scratch, MetricsWriter(Path(scratch), "sft"):
        mixture, form = mixture_of(config), load_format(source.folder)
        layer = torch.nn.Linear(64, 64)  # what torch makes at its first product and its first gradient
        layer(torch.ones(64, 64)).sum().backward()
        kernels = _engine_kernels(source)
        print(resident_bytes())
        del mixture, form, kernels


def _engine_kernels(source: Source) -> Any:
    """Those of the fused pass, where a model has it; compiled before, or now."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from ludus.agents.engines.fused import MODELS, FusedForward

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(source.base, local_files_only=True)
        )
    return FusedForward(model) if type(model).__name__ in MODELS else None
