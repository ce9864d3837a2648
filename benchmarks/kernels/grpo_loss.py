"""python benchmarks/kernels/grpo_loss.py [--device cuda|cpu] [--shapes full|tiny] [--out FOLDER]"""

import sys

import torch
from benchmark import Benchmark, Phase, Problem, Target, Work, main
from shapes import Shape
from torch import Tensor

from ludus.kernels import grpo_loss

CLIP_LOW, CLIP_HIGH = 0.2, 0.28


def problem(shape: Shape, device: torch.device) -> Problem:
    """One advantage per token, so that eager torch needs no gathering either."""
    logprobs = -torch.rand(shape.tokens, device=device) * 5
    old = logprobs + torch.randn(shape.tokens, device=device) * 0.15
    return {
        "logprobs": logprobs.requires_grad_(),
        "old_logprobs": old.detach(),
        "advantages": torch.randn(shape.tokens, device=device),
        "mask": torch.rand(shape.tokens, device=device) < 0.7,
    }


def ours(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return grpo_loss(logprobs, old_logprobs, advantages, mask, clip_low=CLIP_LOW, clip_high=CLIP_HIGH)


def eager(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and the same metrics."""
    log_ratio = logprobs - old_logprobs
    ratio = log_ratio.clamp(-20, 20).exp()
    clipped = ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
    weights = mask.float()
    tokens = weights.sum()
    loss = -(torch.minimum(ratio * advantages, clipped * advantages) * weights).sum() / tokens.clamp(min=1)
    with torch.no_grad():
        metrics = torch.stack(
            [
                tokens,
                (ratio * weights).sum(),
                ((ratio - 1).abs() * weights).max(),
                (((ratio < 1 - CLIP_LOW) & (advantages < 0)) * weights).sum(),
                (((ratio > 1 + CLIP_HIGH) & (advantages > 0)) * weights).sum(),
                ((ratio - 1 - log_ratio) * weights).sum(),
            ]
        )
    return loss, metrics


def work(shape: Shape, phase: Phase) -> Work:
    """Three numbers and a mask of a byte read per token, its gradient written; backward that once more."""
    forward = shape.tokens * (3 * 4 + 1 + 4)
    return Work(bytes=forward if phase == "forward" else forward + shape.tokens * 8)


BENCHMARK = Benchmark(
    operator="grpo_loss",
    summary="token ratio, two clips, mean over tokens, with metrics; `replayed`: both, from a CUDA graph",
    problem=problem,
    ours=ours,
    eager=eager,
    phases=("forward", "forward+backward", "replayed"),
    work=work,
    dimensions=("tokens",),
    targets=(
        Target(
            "forward and backward of 16,384 tokens replayed from a graph, us",
            lambda table: table.value("seconds", "replayed", tokens=16_384),
            15e-6,
            unit=1e-6,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
