"""python benchmarks/kernels/rope.py [--device cuda|cpu] [--shapes full|tiny] [--out FOLDER]"""

import sys

import peers
import torch
from benchmark import Benchmark, Phase, Problem, Target, Work, main
from shapes import Shape
from torch import Tensor

from ludus.kernels import rope


def problem(shape: Shape, device: torch.device) -> Problem:
    def normal(heads: int) -> Tensor:
        return torch.randn(
            shape.tokens, heads, shape.head_size, dtype=shape.dtype, device=device
        ).requires_grad_()

    frequencies = 1e6 ** -(torch.arange(0, shape.head_size, 2, device=device) / shape.head_size)
    angles = (torch.arange(shape.tokens, device=device)[:, None] * frequencies).repeat(1, 2)
    return {
        "query": normal(shape.heads),
        "key": normal(shape.key_heads),
        "cos": angles.cos().to(shape.dtype),
        "sin": angles.sin().to(shape.dtype),
    }


def ours(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return rope(query, key, cos, sin)


def eager(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    def rotated(x: Tensor) -> Tensor:
        low, high = x.chunk(2, dim=-1)
        return x * cos[:, None] + torch.cat([-high, low], dim=-1) * sin[:, None]

    return rotated(query), rotated(key)


def work(shape: Shape, phase: Phase) -> Work:
    """Query and key, or their gradients, read and written; cos and sin read, in full."""
    heads = shape.tokens * (shape.heads + shape.key_heads) * shape.head_size * shape.dtype.itemsize
    return Work(bytes=2 * heads + shape.tokens * shape.head_size * shape.dtype.itemsize)


BENCHMARK = Benchmark(
    operator="rope",
    summary="query and key heads of the three models rotated, ours and Liger's in place",
    problem=problem,
    ours=ours,
    eager=eager,
    phases=("forward", "backward"),
    work=work,
    dimensions=("tokens", "heads", "key_heads", "head_size"),
    peers={"Liger": peers.liger_rope},
    fresh=("query", "key"),
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
