"""Tensors in memory that several processes map: weights that all read, gradients that one adds up for all."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ludus.trainers.models.precision import gradient_dtype

_ALIGNMENT = 64
"""Bytes. The same alignment everywhere, since it decides which instructions linear algebra uses."""


@contextmanager
def nameless_file() -> Iterator[Path]:
    """An empty file in memory, which other processes reach by this path inside the block.

    It has no name, so nothing is left of it however the process ends; and it is not in `/dev/shm`, which is
    small in a container, and whose end is a bus error.
    """
    descriptor = os.memfd_create("ludus")
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Layout:
    """Where tensors lie in one file, as every process that maps it sees them."""

    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> "Layout":
        return cls(tuple(tensor.shape for tensor in tensors), tuple(tensor.dtype for tensor in tensors))

    @classmethod
    def of_gradients(cls, weights: Sequence[Tensor]) -> "Layout":
        return cls(tuple(weight.shape for weight in weights), tuple(map(gradient_dtype, weights)))

    def map(self, file: Path) -> list[Tensor]:
        """The tensors, in the file's memory; one that is empty then holds zeros."""
        sizes = [
            shape.numel() * dtype.itemsize for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        ]
        steps = [-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes]
        memory = torch.from_file(str(file), shared=True, size=sum(steps), dtype=torch.uint8)
        pieces = memory.split(steps)
        return [
            piece[:size].view(dtype).view(shape)
            for piece, size, dtype, shape in zip(pieces, sizes, self.dtypes, self.shapes, strict=True)
        ]
