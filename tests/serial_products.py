"""A stand-in for torch's matrix products on a CPU that adds one term after another.

The order in which a matrix product adds is the library's choice. On some processors MKL splits a float32
sum into several accumulators, on others it adds along the whole inner dimension in one, which costs the most
digits. What is right with the latter is right with any of them.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Kernel = Callable[..., Tensor]


@contextmanager
def serial_products() -> Iterator[None]:
    """Inside, every matrix product of 16- or 32-bit floats on the CPU adds serially in float32, in all
    threads. Attention is computed from such products as well."""
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")
        for name, kernel in _kernels().items():
            library.impl(name, kernel, "CPU", allow_override=True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        library._destroy()


@numba.njit(nogil=True)
def _add_products(out: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """out [B, M, N] += a [B, M, K] b [B, K, N], for each element in the order of K."""
    batch, rows, inner = a.shape
    for i in range(batch):
        for m in range(rows):
            for k in range(inner):
                for n in range(b.shape[2]):
                    out[i, m, n] += a[i, m, k] * b[i, k, n]


def _bmm(a: Tensor, b: Tensor, start: Tensor | None = None) -> Tensor:
    """start [B, M, N] + a [B, M, K] b [B, K, N]"""
    dtype = torch.promote_types(a.dtype, torch.float32)
    a_BMK, b_BKN = (t.detach().to(dtype).contiguous().numpy() for t in (a, b))
    if dtype == torch.float64:
        product = torch.from_numpy(np.matmul(a_BMK, b_BKN))
        return product if start is None else start + product
    out = torch.zeros(*a.shape[:2], b.shape[2])
    if start is not None:
        out += start
    _add_products(out.numpy(), a_BMK, b_BKN)
    return out.to(a.dtype)


def _mm(a: Tensor, b: Tensor, start: Tensor | None = None) -> Tensor:
    return _bmm(a[None], b[None], start)[0]


def _mv(a: Tensor, b: Tensor, start: Tensor | None = None) -> Tensor:
    return _mm(a, b[:, None], None if start is None else start[..., None])[:, 0]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return _mv(a[None], b)[0]


def _adding(product: Kernel) -> Kernel:
    """beta start + alpha a b"""

    def kernel(start: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        # A start with weight 0 is not read: it may be uninitialised memory.
        return product(a if alpha == 1 else alpha * a, b, beta * start.detach() if beta else None)

    return kernel


def _kernels() -> dict[str, Kernel]:
    """By their names in aten: each product into memory of its own, into `out`, and in place."""
    plain = {"mm": _mm, "bmm": _bmm, "mv": _mv, "dot": _dot, "vdot": _dot}
    adding = {"addmm": _adding(_mm), "baddbmm": _adding(_bmm), "addmv": _adding(_mv)}
    kernels: dict[str, Kernel] = {}
    for name, kernel in (plain | adding).items():
        kernels |= {name: kernel, f"{name}.out": _into(kernel)}
    for name, kernel in adding.items():
        kernels[f"{name}_"] = _in_place(kernel)
    return kernels


def _into(kernel: Kernel) -> Kernel:
    def into(*arguments: Tensor, out: Tensor, **options: Any) -> Tensor:
        result = kernel(*arguments, **options)
        return out.detach().resize_(result.shape).copy_(result)

    return into


def _in_place(kernel: Kernel) -> Kernel:
    def in_place(start: Tensor, *arguments: Tensor, **options: Any) -> Tensor:
        return start.detach().copy_(kernel(start, *arguments, **options))

    return in_place
