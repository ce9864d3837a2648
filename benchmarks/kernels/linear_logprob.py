"""python benchmarks/kernels/linear_logprob.py [--device cuda|cpu] [--shapes full|tiny] [--out FOLDER]"""

import sys

import peers
import torch
from benchmark import Benchmark, Phase, Problem, Target, Work, main
from shapes import Shape
from torch import Tensor

from ludus.kernels import linear_logprob

MIB, GIB = 2**20, 2**30


def problem(shape: Shape, device: torch.device) -> Problem:
    """Logits of spread 2.5, as a trained model's."""
    hidden = torch.randn(shape.tokens, shape.hidden, dtype=shape.dtype, device=device)
    weight = torch.randn(shape.vocabulary, shape.hidden, dtype=shape.dtype, device=device)
    weight.mul_(2.5 / shape.hidden**0.5)
    targets = torch.randint(0, shape.vocabulary, (shape.tokens,), device=device)
    return {"hidden": hidden.requires_grad_(), "weight": weight.requires_grad_(), "targets": targets}


def ours(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return linear_logprob(hidden, weight, targets, 1.0)[:2]


def eager(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logp = torch.log_softmax(torch.nn.functional.linear(hidden, weight).float(), dim=-1)
    return logp.gather(1, targets[:, None]).squeeze(1), -(logp.exp() * logp).sum(-1)


def work(shape: Shape, phase: Phase) -> Work:
    """One product forward, two backward. Recomputation does not count."""
    product = 2 * shape.tokens * shape.hidden * shape.vocabulary
    return Work(flops=product if phase == "forward" else 3 * product)


BENCHMARK = Benchmark(
    operator="linear_logprob",
    summary="log-probability and entropy from hidden states [M, H] and a weight [151,936, H], both trained; "
    "FLOP counted without what is computed again, against the bare product of the same shape",
    problem=problem,
    ours=ours,
    eager=eager,
    phases=("forward", "forward+backward"),
    work=work,
    dimensions=("tokens", "hidden", "vocabulary"),
    peers={
        "Liger": peers.liger_linear_logprob,
        "Liger chunked": peers.liger_linear_logprob_chunked,
        "TRL": peers.trl_linear_logprob,
        "verl": peers.verl_linear_logprob,
    },
    targets=(
        Target(
            "forward at 16,384 x 4,096, TFLOP/s",
            lambda table: table.value("flop_per_second", "forward", tokens=16_384, hidden=4096),
            650e12,
            at_least=True,
            unit=1e12,
        ),
        Target(
            "forward at 16,384 x 896, share of the bare product",
            lambda table: table.value("fraction", "forward", tokens=16_384, hidden=896),
            0.85,
            at_least=True,
        ),
        Target(
            "forward at 16,384 x 896, extra memory, MiB",
            lambda table: table.value("peak_bytes", "forward", tokens=16_384, hidden=896),
            64 * MIB,
            unit=MIB,
        ),
        Target(
            "forward and backward at 8,192 x 4,096, ms",
            lambda table: table.value("seconds", "forward+backward", tokens=8192, hidden=4096),
            80e-3,
            unit=1e-3,
        ),
        Target(
            "forward and backward at 8,192 x 4,096, extra memory, GiB",
            lambda table: table.value("peak_bytes", "forward+backward", tokens=8192, hidden=4096),
            6 * GIB,
            unit=GIB,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
