"""python benchmarks/kernels/logprob_entropy.py [--device cuda|cpu] [--shapes full|tiny] [--out FOLDER]"""

import sys

import peers
import torch
from benchmark import Benchmark, Phase, Problem, Target, Work, main
from shapes import Shape
from torch import Tensor

from ludus.kernels import logprob_entropy


def problem(shape: Shape, device: torch.device) -> Problem:
    logits = torch.randn(shape.tokens, shape.vocabulary, dtype=shape.dtype, device=device).mul_(3)
    targets = torch.randint(0, shape.vocabulary, (shape.tokens,), device=device)
    return {"logits": logits.requires_grad_(), "targets": targets}


def ours(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return logprob_entropy(logits, targets)


def eager(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logp = torch.log_softmax(logits.float(), dim=-1)
    return logp.gather(1, targets[:, None]).squeeze(1), -(logp.exp() * logp).sum(-1)


def work(shape: Shape, phase: Phase) -> Work:
    """One read of the logits forward, one read and one write backward."""
    logits = shape.tokens * shape.vocabulary * shape.dtype.itemsize
    return Work(bytes={"forward": 1, "backward": 2}[phase] * logits)


BENCHMARK = Benchmark(
    operator="logprob_entropy",
    summary="log-probability and entropy over logits [M, 151,936], temperature 1, both with gradients",
    problem=problem,
    ours=ours,
    eager=eager,
    phases=("forward", "backward"),
    work=work,
    dimensions=("tokens", "vocabulary"),
    peers={"TRL": peers.trl_logprob_entropy},
    targets=(
        Target(
            "forward, share of the copy's bandwidth at M = 16,384",
            lambda table: table.value("fraction", "forward", tokens=16_384),
            0.93,
            at_least=True,
        ),
        Target(
            "backward, share of the copy's bandwidth at M = 16,384",
            lambda table: table.value("fraction", "backward", tokens=16_384),
            0.90,
            at_least=True,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
