"""python benchmarks/kernels/group_advantage.py [--device cuda|cpu] [--shapes full|tiny] [--out FOLDER]"""

import sys

import torch
from benchmark import Benchmark, Phase, Problem, Work, main
from shapes import Shape
from torch import Tensor

from ludus.kernels import group_advantage

MEMBERS = 8


def problem(shape: Shape, device: torch.device) -> Problem:
    """As many episodes as tokens in the shape, in groups of eight."""
    episodes = shape.tokens
    group_ids = torch.arange(episodes, device=device) // MEMBERS
    order = torch.randperm(episodes, device=device)
    return {"rewards": torch.rand(episodes, device=device), "group_ids": group_ids[order]}


def ours(rewards: Tensor, group_ids: Tensor) -> tuple[Tensor]:
    return (group_advantage(rewards, group_ids, "grpo")[0],)


def eager(rewards: Tensor, group_ids: Tensor) -> tuple[Tensor]:
    """(reward - mean) / sample standard deviation of its group, by scatters over ids that count from 0."""
    groups = len(group_ids) // MEMBERS
    zeros = torch.zeros(groups, device=rewards.device)
    count = zeros.index_add(0, group_ids, torch.ones_like(rewards))
    mean = zeros.index_add(0, group_ids, rewards) / count
    centred = rewards - mean[group_ids]
    variance = zeros.index_add(0, group_ids, centred.square()) / (count - 1).clamp(min=1)
    std = variance.sqrt()[group_ids]
    return (torch.where(std > 0, centred / std.clamp(min=1e-30), 0.0),)


def work(shape: Shape, phase: Phase) -> Work:
    """A reward and an id read per episode, an advantage written."""
    return Work(bytes=shape.tokens * (4 + 8 + 4))


BENCHMARK = Benchmark(
    operator="group_advantage",
    summary="advantages of M episodes in groups of 8, in any order",
    problem=problem,
    ours=ours,
    eager=eager,
    phases=("forward",),
    work=work,
    dimensions=("tokens",),
)

if __name__ == "__main__":
    sys.exit(main(BENCHMARK))
