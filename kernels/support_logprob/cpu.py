"""Torch, some entries of the sets at a time.

An entry k is a kept id of a token: K of them. With x_k = hidden[row_k] · weight[id_k] + bias[id_k] and
z_k = softcap(x_k) / T, each token's sums over its entries are those of `distribution.py`, and

    log p_k = (z_k - peak) - rest
    dz_k    = p_k (-g - e (log p_k + entropy) + l),     l: the gradient of lse;    for the target
    dz_t    = g P - e p_t (log p_t + entropy) + l p_t
    dx_k    = dz_k (1 - (T z_k / c)²) / T               c: the softcap
    d hidden[m] = Σ_{k of m} dx_k weight[id_k]        d weight[v] = Σ_{k of v} dx_k hidden[row_k]

What is kept between forward and backward is z [K] and four numbers a token. Vectors of K entries are summed
in float64, in which their order does not show.
"""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ludus.kernels.distribution import NEVER, Gradients, RowSums, coefficients, combine
from ludus.kernels.support_logprob.problem import SupportProblem

CHUNK_BYTES = 2 * 2**20
"""Size of a buffer of gathered rows: two of them stay in a core's cache."""

CHUNK_ENTRIES = 1024
"""The most entries in a buffer: within one, a row is added to the next in float32."""


def forward(problem: SupportProblem) -> tuple[RowSums, Tensor]:
    """(sums, z [K])."""
    z = _logits(problem)
    support, targets = problem.support, problem.targets
    rows = support.rows
    is_target = support.ids == targets[rows]
    wide = z.double()
    z_t = torch.full(targets.shape, -torch.inf, dtype=wide.dtype, device=z.device)
    z_t[rows[is_target]] = wide[is_target]
    others = torch.where(is_target, NEVER, wide.clamp(min=NEVER))
    m = torch.full_like(z_t, NEVER).scatter_reduce_(0, rows, others, "amax")
    below = others - m[rows]
    e = below.exp()
    zero = torch.zeros_like(m)
    s = torch.where(m == NEVER, 0.0, zero.index_add(0, rows, e))
    spread = zero.index_add(0, rows, -e * below)
    return RowSums(*(x.to(z.dtype) for x in combine(z_t, m, s, spread))), z


def backward(
    problem: SupportProblem, sums: RowSums, z: Tensor, gradients: Gradients, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of hidden [M, H], weight [V, H] and bias [V], in their dtypes, where `wanted`."""
    hidden, weight, bias, support = problem.hidden, problem.weight, problem.bias, problem.support
    dx = _gradient(problem, sums, z, gradients)
    grad_hidden = grad_weight = grad_bias = None
    if wanted[0]:
        grad_hidden = torch.zeros_like(hidden, memory_format=torch.contiguous_format)
        _set_sums(grad_hidden, support.rows, weight, support.ids.long(), dx)
    if wanted[1] or (bias is not None and wanted[2]):
        order, ids = support.by_id
        rows, dx = support.rows[order], dx[order]
        if wanted[1]:
            grad_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
            _set_sums(grad_weight, ids, hidden, rows, dx)
        if bias is not None and wanted[2]:
            exact = torch.zeros(bias.shape, dtype=torch.float64, device=bias.device)
            grad_bias = exact.index_add_(0, ids, dx.double()).to(bias.dtype)
    return grad_hidden, grad_weight, grad_bias


def _logits(problem: SupportProblem) -> Tensor:
    """z [K]."""
    hidden, weight, support, dtype = problem.hidden, problem.weight, problem.support, problem.dtype
    temperature_M, softcap = problem.temperature_M, problem.softcap
    z = temperature_M.new_empty(len(support.ids))
    for part in _chunks(len(z), hidden.shape[1], dtype):
        chosen = weight.index_select(0, support.ids[part]).to(dtype)
        torch.sum(chosen.mul_(hidden.index_select(0, support.rows[part])), 1, out=z[part])
    if problem.bias is not None:
        z += problem.bias[support.ids]
    if softcap is not None:
        z = torch.tanh(z / softcap) * softcap
    return z / temperature_M[support.rows]


def _gradient(problem: SupportProblem, sums: RowSums, z: Tensor, gradients: Gradients) -> Tensor:
    """dx [K]."""
    rows, z = problem.support.rows, z.double()
    sums = RowSums(*(x.double() for x in sums))
    temperature = problem.temperature_M.double()
    g, e, k = (torch.zeros_like(temperature) if x is None else x.double() / temperature for x in gradients)
    constant, at_target = coefficients(sums, (g, e, k))
    logp = ((z - sums.peak[rows]) - sums.rest[rows]).clamp(min=NEVER)
    dx = logp.exp() * (constant[rows] - e[rows] * logp)
    dx = torch.where(problem.support.ids == problem.targets[rows], at_target[rows], dx)
    if problem.softcap is not None:
        dx = dx * (1 - (z * temperature[rows] / problem.softcap).square())
    return dx.to(problem.dtype)


def _set_sums(out: Tensor, destination: Tensor, source: Tensor, index: Tensor, coefficient: Tensor) -> None:
    """out[d] = Σ_{k: destination[k] = d} coefficient[k] source[index[k]] for every d that occurs in the
    sorted destination [K]; accumulated in the dtype of the coefficient [K]."""
    unfinished = None
    for part in _chunks(len(index), source.shape[1], coefficient.dtype):
        d, sizes = torch.unique_consecutive(destination[part], return_counts=True)
        if source.dtype == coefficient.dtype:
            rows, places = source, index[part]
        else:
            rows = source.index_select(0, index[part]).to(coefficient.dtype)
            places = torch.arange(len(rows), device=rows.device)
        starts = sizes.cumsum(0) - sizes
        sums = embedding_bag(places, rows, starts, mode="sum", per_sample_weights=coefficient[part])
        if unfinished is not None and d[0] == unfinished[0]:
            sums[0] += unfinished[1]
        out[d] = sums.to(out.dtype)
        unfinished = d[-1], sums[-1]


def _chunks(entries: int, hidden_size: int, dtype: torch.dtype) -> list[slice]:
    size = min(CHUNK_ENTRIES, max(1, CHUNK_BYTES // max(1, hidden_size * dtype.itemsize)))
    return [slice(start, min(start + size, entries)) for start in range(0, entries, size)]
