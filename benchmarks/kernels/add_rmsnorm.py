"""python benchmarks/kernels/add_rmsnorm.py [--device cuda|cpu] [--shapes full|tiny] [--out FOLDER]"""

import sys

import peers
import torch
from benchmark import Benchmark, Phase, Problem, Target, Work, main
from shapes import Shape
from torch import Tensor

from ludus.kernels import add_rmsnorm

EPS = 1e-6


def problem(shape: Shape, device: torch.device) -> Problem:
    def normal(*size: int) -> Tensor:
        return torch.randn(*size, dtype=shape.dtype, device=device).requires_grad_()

    rows = (shape.tokens, shape.hidden)
    return {"x": normal(*rows), "weight": normal(shape.hidden), "residual": normal(*rows)}


def ours(x: Tensor, weight: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    return add_rmsnorm(x, weight, EPS, residual)


def eager(x: Tensor, weight: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    s = x + residual
    wide = s.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS)).to(s.dtype), s


def work(shape: Shape, phase: Phase) -> Work:
    """Forward: two tensors read, two written. Backward: the sum and the gradients of both outputs read, and
    one gradient, shared by x and the residual, written."""
    tensor = shape.tokens * shape.hidden * shape.dtype.itemsize
    return Work(bytes=4 * tensor)


BENCHMARK = Benchmark(
    operator="add_rmsnorm",
    summary="residual and norm over [M, H], both outputs with gradients",
    problem=problem,
    ours=ours,
    eager=eager,
    phases=("forward", "backward"),
    work=work,
    dimensions=("tokens", "hidden"),
    peers={"Liger": peers.liger_rmsnorm},
    targets=(
        Target(
            "the worst at M = 16,384, share of the copy's bandwidth",
            lambda table: table.smallest("fraction", ("forward", "backward"), tokens=16_384),
            0.85,
            at_least=True,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
