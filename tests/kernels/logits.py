"""Distributions over a vocabulary that operators get wrong, and measures of being right. M rows, V
entries."""

import math
from mmap import mmap

import torch
from torch import Tensor

INF = math.inf


def ordinary(rows: int, vocabulary: int, seed: int, spread: float = 3.0) -> tuple[Tensor, Tensor]:
    """(logits [M, V] float32, targets [M])."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocabulary, generator=generator) * spread
    return logits, torch.randint(0, vocabulary, (rows,), generator=generator)


def adversarial(name: str, rows: int, vocabulary: int, seed: int) -> tuple[Tensor, Tensor]:
    """`ordinary` logits and targets, distorted; see `ADVERSARIAL`."""
    logits, targets = ordinary(rows, vocabulary, seed)
    every = torch.arange(rows)
    third = max(vocabulary // 3, 1)
    match name.split():
        case ["shifted", by]:
            logits += float(by)
        case ["-inf", "first"]:
            logits[:, :third] = -INF
            targets = targets.clamp(min=third)
        case ["-inf", "middle"]:
            logits[:, third : 2 * third] = -INF
            targets = torch.where((targets >= third) & (targets < 2 * third), vocabulary - 1, targets)
        case ["-inf", "last"]:
            logits[:, -third:] = -INF
            targets = targets.clamp(max=vocabulary - third - 1)
        case ["-inf", "target"]:
            logits[every, targets] = -INF
        case ["-inf", "but", "the", "target"]:
            kept = logits[every, targets]
            logits[:] = -INF
            logits[every, targets] = kept
        case ["-inf", "everywhere"]:
            logits[rows // 2 :] = -INF
        case ["target", "above", "by", by]:
            logits[every, targets] = logits.amax(1) + float(by)
        case ["another", "above", "by", by]:
            logits[every, (targets + 1) % vocabulary] = logits.amax(1) + float(by)
        case ["ties"]:
            logits = logits.round()
        case ["all", "equal"]:
            logits[:] = 1.5
        case _:
            raise ValueError(name)
    return logits, targets


ADVERSARIAL = (
    "shifted 200",
    "shifted -200",
    "shifted 1e4",
    "shifted -1e4",
    "-inf first",
    "-inf middle",
    "-inf last",
    "-inf target",
    "-inf but the target",
    "-inf everywhere",
    "target above by 17",
    "target above by 40",
    "another above by 40",
    "ties",
    "all equal",
)


def untouched(size: int) -> Tensor:
    """Zeros of float16 on the CPU, of which only the pages that are touched take memory: 4 KiB each. (NumPy's
    arrays have huge ones.)"""
    return torch.frombuffer(mmap(-1, 2 * size), dtype=torch.float16)


def far_apart(matrix: Tensor, device: torch.device) -> Tensor:
    """The same three rows of float16, 2**30 elements apart: the last one's offset does not fit in 32 bits.

    On a CPU, what lies between them is never touched and takes no memory.
    """
    assert matrix.shape[0] == 3
    stride = 2**30 + 16
    size = 2 * stride + matrix.shape[1]
    if device.type == "cpu":
        memory = untouched(size)
    else:
        memory = torch.zeros(size, dtype=torch.float16, device=device)
    return memory.as_strided(matrix.shape, (stride, 1)).copy_(matrix)


def assert_close(got: Tensor, expected: Tensor, rtol: float, atol: float) -> None:
    """Equal in shape and in where they are infinite, within |expected| rtol + atol elsewhere; nowhere NaN."""
    assert got.shape == expected.shape
    got, expected = got.detach().double().cpu(), expected.detach().double().cpu()
    torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)
    assert not got.isnan().any()
