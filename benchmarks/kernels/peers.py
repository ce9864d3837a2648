"""Other projects' operators, if installed. Each function here loads one and returns a contestant.

The versions measured, in an environment with Ludus:

    pip install torch==2.13.0 triton==3.6.0 numpy==2.3.5 transformers==5.23.0 trl==1.16.0
    pip install --no-deps liger-kernel==0.8.5 verl==0.9.1
    pip install "nvidia-cutlass-dsl>=4.6" apache-tvm-ffi    # for Liger's linear operator on sm_90

Only the modules of verl's kernel are loaded: the package itself imports Ray and a training framework.
"""

import importlib
import importlib.metadata
import os
import sys
import types
from pathlib import Path

import torch
from torch import Tensor

DISTRIBUTIONS = ("liger-kernel", "trl", "verl")


class Missing(Exception):
    """A peer is not installed or does not run on this device; the message says which."""


def versions() -> dict[str, str]:
    """Of the peers that are installed."""
    return {name: importlib.metadata.version(name) for name in DISTRIBUTIONS if installed(name)}


def trl_logprob_entropy():
    """TRL's fused log-probability and entropy over logits."""
    require_triton("trl")
    from trl.kernels.logprob_entropy import selective_log_softmax_and_entropy

    def contestant(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return selective_log_softmax_and_entropy(logits, targets)

    return contestant


def trl_linear_logprob():
    """TRL's chunked path, with its trainer's chunk size."""
    require("trl")
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    chunk_size = 32_768  # trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE, whose import takes a minute

    def contestant(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return ChunkedLogProbFunction.apply(
            hidden, weight, None, targets, 1.0, chunk_size, None, 1.0, ("entropy",)
        )[:2]

    return contestant


def liger_linear_logprob():
    """Liger's fused linear scaled cross entropy: CuTe on sm_90, chunked torch elsewhere."""
    require("liger-kernel")
    from liger_kernel.ops import LigerFusedLinearScaledCrossEntropyFunction as function

    def contestant(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        nll, entropy = function.apply(hidden, weight, targets, 1.0, -100, 1, True)
        return -nll, entropy

    return contestant


def liger_linear_logprob_chunked():
    """What Liger runs on other GPUs: chunks of 512 rows in torch."""
    require("liger-kernel")
    from liger_kernel.ops.fused_linear_scaled_cross_entropy import _FusedLinearPPOFallbackFunction as function

    def contestant(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        nll, entropy = function.apply(hidden, weight, targets, 1.0, -100, True)
        return -nll, entropy

    return contestant


def verl_linear_logprob():
    """verl's fused linear cross entropy with entropy."""
    require_triton("verl")
    function = verl_kernel().linear_cross_entropy

    def contestant(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return function(hidden, weight, targets, 1.0, "none")

    return contestant


def liger_rmsnorm():
    require_triton("liger-kernel")
    from liger_kernel.ops import LigerFusedAddRMSNormFunction

    def contestant(x: Tensor, weight: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        return LigerFusedAddRMSNormFunction.apply(x, residual, weight, 1e-6, 0.0, "llama", False)

    return contestant


def liger_swiglu():
    require_triton("liger-kernel")
    from liger_kernel.ops import LigerSiLUMulFunction

    def contestant(gate: Tensor, up: Tensor) -> tuple[Tensor]:
        return (LigerSiLUMulFunction.apply(gate, up),)

    return contestant


def liger_rope():
    require_triton("liger-kernel")
    from liger_kernel.ops import LigerRopeFunction

    def contestant(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        rotated = LigerRopeFunction.apply(
            query.transpose(0, 1)[None], key.transpose(0, 1)[None], cos[None], sin[None]
        )
        return rotated[0][0].transpose(0, 1), rotated[1][0].transpose(0, 1)

    return contestant


def verl_kernel() -> types.ModuleType:
    """verl.utils.kernel.linear_cross_entropy and what it imports, without the packages around it."""
    root = Path(str(importlib.metadata.distribution("verl").locate_file("verl")))
    for name, folder in {"verl": root, "verl.utils": root / "utils", "verl.plugin": root / "plugin"}.items():
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return importlib.import_module("verl.utils.kernel.linear_cross_entropy")


def installed(distribution: str) -> bool:
    return any(True for _ in importlib.metadata.distributions(name=distribution))


def require(distribution: str) -> None:
    if not installed(distribution):
        raise Missing("not installed")


def require_triton(distribution: str) -> None:
    """For operators that exist only as Triton kernels."""
    require(distribution)
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        raise Missing("needs a GPU, or TRITON_INTERPRET=1")
