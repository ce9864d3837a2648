"""python benchmarks/kernels/swiglu.py [--device cuda|cpu] [--shapes full|tiny] [--out FOLDER]"""

import sys

import peers
import torch
from benchmark import Benchmark, Phase, Problem, Target, Work, main
from shapes import Shape
from torch import Tensor

from ludus.kernels import swiglu


def problem(shape: Shape, device: torch.device) -> Problem:
    def normal() -> Tensor:
        return torch.randn(
            shape.tokens, shape.intermediate, dtype=shape.dtype, device=device
        ).requires_grad_()

    return {"gate": normal(), "up": normal()}


def ours(gate: Tensor, up: Tensor) -> tuple[Tensor]:
    return (swiglu(gate, up),)


def eager(gate: Tensor, up: Tensor) -> tuple[Tensor]:
    return (torch.nn.functional.silu(gate) * up,)


def work(shape: Shape, phase: Phase) -> Work:
    """Forward: two tensors read, one written. Backward: three read, two written."""
    tensor = shape.tokens * shape.intermediate * shape.dtype.itemsize
    return Work(bytes={"forward": 3, "backward": 5}[phase] * tensor)


BENCHMARK = Benchmark(
    operator="swiglu",
    summary="silu(gate) up over [M, I], with I = 4,864, 6,144 and 12,288 for the three H",
    problem=problem,
    ours=ours,
    eager=eager,
    phases=("forward", "backward"),
    work=work,
    dimensions=("tokens", "intermediate"),
    peers={"Liger": peers.liger_swiglu},
    fresh=("gate", "up"),
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
