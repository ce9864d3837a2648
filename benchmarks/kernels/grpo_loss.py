"""python benchmarks/kernels/grpo_loss.py [--device cuda|cpu] [--shapes full|tiny] [--out FOLDER]"""

import sys

import torch
from benchmark import Benchmark, Phase, Problem, Target, Work, main
from shapes import Shape
from torch import Tensor

from ludus.kernels import grpo_loss

CLIP_LOW, CLIP_HIGH = 0.2, 0.28


def problem(shape: Shape, device: torch.device) -> Problem:
    """A batch whose mask keeps 7 tokens of 10."""
    logprobs = -torch.rand(shape.tokens, device=device) * 5
    old = logprobs + torch.randn(shape.tokens, device=device) * 0.15
    return {
        "logprobs": logprobs.requires_grad_(),
        "old_logprobs": old.detach(),
        "advantages": torch.randn(shape.tokens, device=device),
        "weights": (torch.rand(shape.tokens, device=device) < 0.7) / shape.tokens,
    }


def ours(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    return grpo_loss(logprobs, old_logprobs, advantages, weights, clip_low=CLIP_LOW, clip_high=CLIP_HIGH)


def eager(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss, and the same metrics."""
    log_ratio = logprobs - old_logprobs
    ratio = log_ratio.clamp(-20, 20).exp()
    clipped = ratio.clamp(1 - CLIP_LOW, 1 + CLIP_HIGH)
    loss = -(torch.minimum(ratio * advantages, clipped * advantages) * weights).sum()
    with torch.no_grad():
        kept = (weights != 0).float()
        metrics = torch.stack(
            [
                kept.sum(),
                (ratio * kept).sum(),
                ((ratio - 1).abs() * kept).max(),
                (((ratio < 1 - CLIP_LOW) & (advantages < 0)) * kept).sum(),
                (((ratio > 1 + CLIP_HIGH) & (advantages > 0)) * kept).sum(),
                kept.new_zeros(()),  # no dual bound is set
                ((ratio - 1 - log_ratio) * kept).sum(),
            ]
        )
    return loss, metrics


def work(shape: Shape, phase: Phase) -> Work:
    """Four numbers read per token, its gradient written; backward that once more."""
    forward = shape.tokens * (4 * 4 + 4)
    return Work(bytes=forward if phase == "forward" else forward + shape.tokens * 8)


BENCHMARK = Benchmark(
    operator="grpo_loss",
    summary="token ratio, two clips, with metrics; `replayed`: both, from a CUDA graph",
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
