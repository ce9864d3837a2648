"""python benchmarks/kernels/support_logprob.py [--device cuda|cpu] [--shapes full|tiny] [--out FOLDER]"""

import sys

import torch
from benchmark import OURS, Benchmark, Contestant, Phase, Problem, Table, Target, Work, main
from linear_logprob import problem as linear_problem
from shapes import Shape
from torch import Tensor

from ludus.kernels import Support, linear_logprob, support_logprob

FULL = "full softmax"
LEAST, MOST = 4, 28
"""Sizes of the kept sets, evenly spread, with a mean of 16."""


def problem(shape: Shape, device: torch.device) -> Problem:
    values = linear_problem(shape, device)
    sizes = torch.randint(LEAST, MOST + 1, (shape.tokens,), device=device)
    offsets = torch.nn.functional.pad(sizes.cumsum(0), (1, 0))
    first = torch.randint(0, shape.vocabulary, (shape.tokens,), device=device)
    row = torch.repeat_interleave(torch.arange(shape.tokens, device=device), sizes)
    place = torch.arange(len(row), device=device) - offsets[row]
    # Ids at a fixed stride from a random start: distinct, and scattered over the weight.
    ids = (first[row] + place * (shape.vocabulary // MOST)) % shape.vocabulary
    return {
        "hidden": values["hidden"],
        "weight": values["weight"],
        "targets": first,
        "support": Support(ids, offsets),
    }


def ours(hidden: Tensor, weight: Tensor, targets: Tensor, support: Support) -> tuple[Tensor, Tensor]:
    return support_logprob(hidden, weight, targets, support)[:2]


def eager(hidden: Tensor, weight: Tensor, targets: Tensor, support: Support) -> tuple[Tensor, Tensor]:
    """Kept ids padded to the largest set, as indices and a mask."""
    sizes = support.offsets.diff()
    place = torch.arange(MOST, device=hidden.device)
    kept = place < sizes[:, None]
    ids = support.ids[torch.where(kept, support.offsets[:-1, None] + place, 0)]
    z = torch.einsum("mh,mkh->mk", hidden, weight[ids]).float().masked_fill(~kept, -torch.inf)
    logp = torch.log_softmax(z, dim=-1)
    finite = torch.where(kept, logp, 0.0)
    chosen = (kept & (ids == targets[:, None])).float()
    return (finite * chosen).sum(-1), -(logp.exp() * finite).sum(-1)


def full() -> Contestant:
    """The operator over the whole vocabulary, which computes another distribution: only its cost is
    comparable."""

    def contestant(
        hidden: Tensor, weight: Tensor, targets: Tensor, support: Support
    ) -> tuple[Tensor, Tensor]:
        return linear_logprob(hidden, weight, targets, 1.0)[:2]

    return contestant


def work(shape: Shape, phase: Phase) -> Work:
    """Forward: the hidden states and the kept rows of the weight. Backward: both again, their gradients, and
    a write of the weight's dense gradient."""
    row = shape.hidden * shape.dtype.itemsize
    kept = shape.tokens * (LEAST + MOST) // 2 * row
    forward = kept + shape.tokens * row
    return Work(bytes=forward if phase == "forward" else 3 * forward + shape.vocabulary * row)


def speedup(phase: Phase) -> Target:
    def value(table: Table) -> float | None:
        ours = table.value("seconds", phase, OURS, tokens=8192, hidden=4096)
        other = table.value("seconds", phase, FULL, tokens=8192, hidden=4096)
        return None if ours is None or other is None else other / ours

    return Target(f"{phase} at 8,192 x 4,096, times as fast as the full softmax", value, 10, at_least=True)


BENCHMARK = Benchmark(
    operator="support_logprob",
    summary="log-probability and entropy over kept sets of 4 to 28 ids, 16 on average",
    problem=problem,
    ours=ours,
    eager=eager,
    phases=("forward", "forward+backward"),
    work=work,
    dimensions=("tokens", "hidden", "vocabulary"),
    peers={FULL: full},
    targets=(speedup("forward"), speedup("forward+backward")),
    tokens=(8192,),
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
