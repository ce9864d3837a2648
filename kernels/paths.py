"""Which implementation of an operator runs: the device decides, unless `LUDUS_KERNELS` forces one.

    reference   the formula in plain torch, differentiated by autograd; holds everything in memory
    cpu         torch, chunked, with a backward of its own; needs no Triton and runs on any device
    triton      fused kernels for CUDA (sm_80 and newer) and AMD (gfx942)

With `TRITON_INTERPRET=1` set before Triton is imported, `LUDUS_KERNELS=triton` also runs on CPU tensors, in
Triton's interpreter: slow, and meant for tests.
"""

import functools
import importlib.util
import logging
import os
from typing import Literal, get_args

import torch
from torch import Tensor

Path = Literal["reference", "cpu", "triton"]

VARIABLE = "LUDUS_KERNELS"

_log = logging.getLogger(__name__)


def path_for(tensor: Tensor) -> Path:
    """The path for an operator whose inputs lie where `tensor` does.

    Raises ValueError if `LUDUS_KERNELS` is set to something other than a path, or forces Triton where it
    cannot run.
    """
    forced = os.environ.get(VARIABLE)
    match forced:
        case None | "":
            if tensor.device.type == "cuda" and not triton_problem(tensor.device):
                return "triton"
            if tensor.device.type == "cuda":
                fall_back("every operator", triton_problem(tensor.device))
            return "cpu"
        case "reference" | "cpu":
            return forced
        case "triton":
            problem = triton_problem(tensor.device)
            if problem:
                raise ValueError(f"{VARIABLE}=triton, but {problem}; unset it, or set it to cpu")
            return "triton"
        case _:
            raise ValueError(
                f"{VARIABLE}={forced!r} is not a path; set it to one of {', '.join(get_args(Path))}, or "
                "unset it"
            )


@functools.cache
def triton_problem(device: torch.device) -> str:
    """Why Triton cannot run on `device`, or an empty string."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (pip install triton)"
    if device.type == "cuda":
        if torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
            return f"{torch.cuda.get_device_name(device)} is older than sm_80"
        return ""
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return ""
    return f"the tensors are on {device}, and Triton needs a GPU (or TRITON_INTERPRET=1 before its import)"


@functools.cache
def fall_back(operator: str, reason: str) -> None:
    """Say, once for each operator and reason, that the torch path runs instead of the fused kernel."""
    _log.warning("%s: %s; the chunked torch path runs instead of the fused kernel", operator, reason)
