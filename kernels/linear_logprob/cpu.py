"""Torch, tile by tile: logits of a few rows and vocabulary entries are made, used and dropped while in the
cache.

With x = hidden weightᵀ + bias, z = softcap(x) / T, m the largest z of a row so far, its target left out:

    forward    E = exp(z - m),  total += Σ E,  spread += Σ E (m - z)     rescaled when m grows; `distribution`
    backward   log p = X + base      E and X = log E from the forward, base = m - lse; or computed again
               dz    = p (constant - e log p),  constant = l - g - e entropy
               dx    = dz / T (1 - (softcap(x) / softcap)²)
               dh    = Σ dx weight,  dW = Σ dx hidden,  db = Σ dx

where g, e and l are the gradients of logprob, entropy and lse. The target's contribution is sparse. Factors
that are the same along a row of a tile go onto the small sides of the products ([R, H]), so that without e a
backward makes no pass over the tile besides the two products. The vocabulary is the outer loop: each piece of
the weight is converted once, and its gradient written once.

The library chooses the order in which a matrix product adds up, and some add sequentially, which costs the
most digits. So no product runs over more rows or vocabulary entries than a tile has; tiles are then added to
each other.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ludus.kernels.distribution import LOWEST, NEVER, Gradients, RowSums, coefficients, combine
from ludus.kernels.linear_logprob.problem import Problem

ROWS, VOCABULARY = 1024, 1024
"""A tile: 4 MiB of float32, small enough for the caches of two cores, and large enough for the products."""

KEPT_BYTES = 128 * 2**20
"""How much of E a call may keep between forward and backward. The rest is recomputed."""


class Kept(NamedTuple):
    """Results of the forward's first tiles, kept for the backward."""

    exponentials_KMW: Tensor
    """E, one layer for each of K pieces of W vocabulary entries; 0 at the target."""
    maxima_KM: Tensor
    """The m that they are relative to."""


def forward(problem: Problem, differentiable: bool) -> tuple[RowSums, Tensor, Kept | None]:
    """(sums, lse [M], what was kept)."""
    logits = _Logits(problem)
    rows, vocabulary = problem.rows, problem.vocabulary
    targets, temperature_M = problem.targets, problem.temperature_M
    z_t = temperature_M.new_full((rows,), -torch.inf)
    maximum = temperature_M.new_full((rows,), LOWEST)
    total, spread = temperature_M.new_zeros(2, rows)
    kept = _room(problem) if differentiable and problem.softcap is None else None
    buffer = _buffer(problem)
    for index, piece in enumerate(_slices(vocabulary, VOCABULARY)):
        weight_WH = logits.weight_of(piece)
        for part in _slices(rows, ROWS):
            z = logits.of(part, piece, weight_WH)
            row, word = _targets_within(targets[part], piece)
            z_t[part].index_copy_(0, row, z[row, word])
            z[row, word] = NEVER
            if problem.bias is not None:
                z.clamp_(min=NEVER)
            m = torch.maximum(maximum[part], z.amax(1))
            z.sub_(m[:, None])
            e = _view(buffer, z.shape)
            if kept is not None and index < len(kept.maxima_KM):
                e = kept.exponentials_KMW[index, part, : z.shape[1]]
                kept.maxima_KM[index, part] = m
            torch.exp(z, out=e)
            shift = maximum[part] - m
            faded = shift.exp()
            spread[part] = faded * (spread[part] - shift * total[part]) - z.mul_(e).sum(1)
            total[part] = faded * total[part] + e.sum(1)
            maximum[part] = m
    sums = combine(z_t, maximum, total, spread)
    return sums, torch.where(sums.rest == torch.inf, -torch.inf, sums.peak + sums.rest), kept


def backward(
    problem: Problem, sums: RowSums, kept: Kept | None, gradients: Gradients, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of hidden, weight and bias in their dtypes, of those that are wanted."""
    hidden, weight, bias, softcap = problem.hidden, problem.weight, problem.bias, problem.softcap
    targets, temperature_M = problem.targets, problem.temperature_M
    rows, vocabulary, dtype = problem.rows, problem.vocabulary, problem.dtype
    constant, at_target = coefficients(sums, gradients)
    e = None if gradients[1] is None else torch.where(sums.rest == torch.inf, 0.0, gradients[1])
    peak, rest = sums.peak, torch.where(sums.rest == torch.inf, 0.0, sums.rest)

    logits = _Logits(problem)
    grad_hidden = temperature_M.new_zeros(hidden.shape) if wanted[0] else None
    grad_weight = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device) if wanted[1] else None
    grad_bias = temperature_M.new_zeros(vocabulary) if wanted[2] else None
    buffer = _buffer(problem)
    for index, piece in enumerate(_slices(vocabulary, VOCABULARY)):
        weight_WH = logits.weight_of(piece)
        dw = None if grad_weight is None else torch.zeros_like(weight_WH)
        for part in _slices(rows, ROWS):
            row, word = _targets_within(targets[part], piece)
            slope = None
            if kept is not None and index < len(kept.maxima_KM):
                p = kept.exponentials_KMW[index, part, : len(weight_WH)]
                base = kept.maxima_KM[index, part] - peak[part] - rest[part]
                logp = None if e is None else torch.log(p, out=_view(buffer, p.shape)).clamp_(min=NEVER)
            else:
                logp = logits.of(part, piece, weight_WH)
                if softcap is not None:
                    slope = 1 - (logp * (temperature_M[part, None] / softcap)).square()
                    at_target[part][row] *= slope[row, word]
                logp[row, word] = NEVER
                logp.sub_(peak[part, None])
                if bias is not None:
                    logp.clamp_(min=NEVER)
                p = torch.exp(logp, out=_view(buffer, logp.shape))
                base = -rest[part]
            scale = base.exp() / temperature_M[part]
            if e is None or logp is None:
                dx, scale = p, scale * constant[part]
            else:
                dx = logp.mul_(-e[part, None]).add_((constant[part] - e[part] * base)[:, None]).mul_(p)
            if slope is not None:
                dx = slope.mul_(dx)
            gained = at_target[part][row] / temperature_M[part][row]
            if grad_hidden is not None:
                into = grad_hidden[part].addcmul_(dx @ weight_WH, scale[:, None])
                into.index_add_(0, row, weight_WH[word] * gained[:, None])
            if dw is not None:
                h = hidden[part].to(dtype)
                product = torch.mm(dx.t(), h * scale[:, None])
                dw += product.index_add_(0, word, h[row] * gained[:, None])
            if grad_bias is not None:
                grad_bias[piece] += torch.mv(dx.t(), scale).index_add_(0, word, gained)
        if grad_weight is not None and dw is not None:
            grad_weight[piece] = dw
    return (
        None if grad_hidden is None else grad_hidden.to(hidden.dtype),
        grad_weight,
        None if grad_bias is None or bias is None else grad_bias.to(bias.dtype),
    )


class _Logits:
    """z, a tile at a time, in one buffer."""

    def __init__(self, problem: Problem) -> None:
        self.dtype, self.weight, self.softcap = problem.dtype, problem.weight, problem.softcap
        self.bias = None if problem.bias is None else problem.bias.to(self.dtype)
        divisor = self.temperature_M1 = problem.temperature_M[:, None]
        if self.softcap is not None:
            divisor = torch.full_like(divisor, self.softcap)
        self.inverse_M = divisor.squeeze(1).reciprocal()
        self.hidden = problem.hidden.to(self.dtype) / divisor
        self.buffer = _buffer(problem)

    def weight_of(self, piece: slice) -> Tensor:
        """[W, H] in the dtype that is accumulated in."""
        return self.weight[piece].to(self.dtype)

    def of(self, part: slice, piece: slice, weight_WH: Tensor) -> Tensor:
        """[R, W], until the next call."""
        hidden = self.hidden[part]
        z = torch.mm(hidden, weight_WH.t(), out=_view(self.buffer, (len(hidden), len(weight_WH))))
        if self.bias is not None:
            z.addr_(self.inverse_M[part], self.bias[piece])
        if self.softcap is not None:
            z.tanh_().mul_(self.softcap / self.temperature_M1[part])
        return z


def _targets_within(targets: Tensor, piece: slice) -> tuple[Tensor, Tensor]:
    """The rows whose target is in a piece of the vocabulary, and its index in the piece."""
    row = ((targets >= piece.start) & (targets < piece.stop)).nonzero().squeeze(1)
    return row, targets[row].long() - piece.start


def _room(problem: Problem) -> Kept:
    rows, piece = problem.rows, min(VOCABULARY, problem.vocabulary)
    bytes_of_piece = max(rows * piece * problem.dtype.itemsize, 1)
    pieces = min(-(-problem.vocabulary // piece), KEPT_BYTES // bytes_of_piece)
    new_empty = problem.temperature_M.new_empty
    return Kept(new_empty(pieces, rows, piece), new_empty(pieces, rows))


def _buffer(problem: Problem) -> Tensor:
    return problem.temperature_M.new_empty(min(ROWS, problem.rows) * min(VOCABULARY, problem.vocabulary))


def _view(buffer: Tensor, shape: tuple[int, ...]) -> Tensor:
    return buffer[: shape[0] * shape[1]].view(shape)


def _slices(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]
