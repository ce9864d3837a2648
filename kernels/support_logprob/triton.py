"""Fused kernels over the entries of the sets: K of them, however they are spread over the tokens.

    products    z_k of a block of entries: rows of the weight are gathered, one of hidden for each
    reduction   a token's sums over its z; one warp a token
    slopes      dx_k from z_k and its token's sums
    sums        out[s] = Σ_{k in segment s} dx_k source[index_k], in the order of k
                    the gradient of hidden: a segment is a token, the source is the weight
                    the gradient of the weight: a segment is an id, the source is hidden

A long set costs the first as much as many short ones: it does not depend on where a set ends. Products and
sums are bound by memory: 16 bytes of a row at a time, added up in float32. The formulas are those of
`cpu.py`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ludus.kernels.compilation import ELEMENT_TYPES, Specialisation, warp_size
from ludus.kernels.distribution import Gradients, RowSums
from ludus.kernels.numerics import FLOOR, LOWEST, combine, expm1, tanh
from ludus.kernels.support_logprob.problem import SupportProblem

PRODUCTS = {"ENTRIES": 16, "COLUMNS": 256}
"""A warp reads four rows at once, 16 bytes (of a 16-bit type) a thread; only their ends take an exchange."""

SUMS = {"ENTRIES": 8, "BLOCK": 1024, "COLUMNS": 1024}
"""Every warp has columns of its own, so that no exchange is needed at all. The sums of blocks of entries are
added to each other, so that a long segment is not one long chain of additions."""

WARPS = 4

PROGRAMS = 4096
"""For each block of columns, programs that share the segments: enough for any GPU, few to launch."""

POINTS = 512
"""Entries of a program that reads numbers instead of rows."""


def forward(problem: SupportProblem) -> tuple[RowSums, Tensor]:
    """(sums, z [K]), float32."""
    hidden, weight = _contiguous_rows(problem.hidden), _contiguous_rows(problem.weight)
    bias, targets, temperature_M = problem.bias, problem.targets, problem.temperature_M
    support, entries = problem.support, len(problem.support.ids)
    z = temperature_M.new_empty(entries)
    sums = RowSums(*(temperature_M.new_empty(problem.rows) for _ in range(4)))
    if entries:
        products_kernel[(triton.cdiv(entries, PRODUCTS["ENTRIES"]),)](
            hidden,
            weight,
            bias,
            support.ids,
            support.rows,
            temperature_M,
            z,
            problem.softcap,
            entries,
            problem.vocabulary,
            problem.hidden_size,
            hidden.stride(0),
            weight.stride(0),
            0 if bias is None else bias.stride(0),
            temperature_M.stride(0),
            **PRODUCTS,
            num_warps=WARPS,
        )
    if len(hidden):
        reduction_kernel[(len(hidden),)](
            z,
            support.ids,
            support.offsets,
            targets,
            *sums,
            problem.vocabulary,
            targets.stride(0),
            LANES=warp_size(),
            num_warps=1,
        )
    return sums, z


def backward(
    problem: SupportProblem, sums: RowSums, z: Tensor, gradients: Gradients, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of hidden [M, H], weight [V, H] and bias [V], in their dtypes, where `wanted`."""
    hidden, weight = _contiguous_rows(problem.hidden), _contiguous_rows(problem.weight)
    bias, support = problem.bias, problem.support
    dx = _slopes(problem, sums, z, gradients)
    grad_hidden = grad_weight = grad_bias = None
    if wanted[0]:
        grad_hidden = torch.empty(hidden.shape, dtype=hidden.dtype, device=hidden.device)
        _sums(grad_hidden, None, support.offsets, None, weight, support.ids, dx)
    if wanted[1] or (bias is not None and wanted[2]):
        order, sorted_ids = support.by_id
        starts, count = support.id_segments
        rows, dx = support.rows[order], dx[order]
        if wanted[1]:
            grad_weight = torch.zeros(weight.shape, dtype=weight.dtype, device=weight.device)
            _sums(grad_weight, sorted_ids, starts, count, hidden, rows, dx)
        if bias is not None and wanted[2]:
            grad_bias = torch.zeros(bias.shape, dtype=bias.dtype, device=bias.device)
            ones = hidden.new_ones(1, 1).expand(len(hidden), 1)
            _sums(grad_bias[:, None], sorted_ids, starts, count, ones, rows, dx)
    return grad_hidden, grad_weight, grad_bias


def _slopes(problem: SupportProblem, sums: RowSums, z: Tensor, gradients: Gradients) -> Tensor:
    """dx [K]."""
    targets, temperature_M = problem.targets, problem.temperature_M
    given = [torch.zeros_like(temperature_M) if gradient is None else gradient for gradient in gradients]
    dx = torch.empty_like(z)
    if len(z):
        slopes_kernel[(triton.cdiv(len(z), POINTS),)](
            z,
            problem.support.ids,
            problem.support.rows,
            targets,
            temperature_M,
            *sums,
            *given,
            dx,
            problem.softcap,
            len(z),
            targets.stride(0),
            temperature_M.stride(0),
            *(gradient.stride(0) for gradient in given),
            POINTS=POINTS,
            num_warps=WARPS,
        )
    return dx


def _sums(
    out: Tensor,
    destination: Tensor | None,
    starts: Tensor,
    count: Tensor | None,
    source: Tensor,
    index: Tensor,
    coefficient: Tensor,
) -> None:
    """Fills a row of `out` for each segment: row s, or row `destination[starts[s]]`. `starts` closes the last
    segment; of those that it names the first `count` are there (all, where that is None)."""
    segments = len(starts) - 1
    tiles = triton.cdiv(out.shape[1], SUMS["COLUMNS"])
    if segments and tiles:
        sums_kernel[(min(segments, PROGRAMS) * tiles,)](
            source,
            index,
            coefficient,
            starts,
            count,
            destination,
            out,
            segments,
            len(source),
            len(out),
            out.shape[1],
            source.stride(0),
            out.stride(0),
            **SUMS,
            num_warps=WARPS,
        )


def _contiguous_rows(matrix: Tensor) -> Tensor:
    """A copy only if rows are not contiguous."""
    return matrix if matrix.stride(1) == 1 or matrix.shape[1] == 1 else matrix.contiguous()


@triton.jit
def products_kernel(
    hidden_ptr,
    weight_ptr,
    bias_ptr,
    ids_ptr,
    rows_ptr,
    temperature_ptr,
    z_ptr,
    softcap,
    entries,
    vocabulary,
    hidden_size,
    stride_hidden,
    stride_weight,
    stride_bias,
    stride_temperature,
    ENTRIES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    entry = tl.program_id(0) * ENTRIES + tl.arange(0, ENTRIES)
    inside = entry < entries
    row = tl.load(rows_ptr + entry, mask=inside, other=0)
    token_id = tl.load(ids_ptr + entry, mask=inside, other=0).to(tl.int64)
    exists = (token_id >= 0) & (token_id < vocabulary)
    safe = tl.where(exists, token_id, 0)
    column = tl.arange(0, COLUMNS)
    from_hidden = hidden_ptr + (row * stride_hidden)[:, None] + column[None, :]
    from_weight = weight_ptr + (safe * stride_weight)[:, None] + column[None, :]
    sums = tl.zeros([ENTRIES, COLUMNS], tl.float32)
    for start in range(0, hidden_size, COLUMNS):
        left = (column < hidden_size - start)[None, :]
        h = tl.load(from_hidden + start, mask=left, other=0.0).to(tl.float32)
        w = tl.load(from_weight + start, mask=left, other=0.0).to(tl.float32)
        sums += h * w
    x = tl.sum(sums, 1)
    if bias_ptr is not None:
        x += tl.load(bias_ptr + safe * stride_bias).to(tl.float32)
    if softcap is not None:
        x = softcap * tanh(x / softcap)
    z = x / tl.load(temperature_ptr + row * stride_temperature)
    tl.store(z_ptr + entry, tl.where(exists, z, float("nan")), mask=inside)


@triton.jit
def reduction_kernel(
    z_ptr,
    ids_ptr,
    offsets_ptr,
    targets_ptr,
    logprobs_ptr,
    entropy_ptr,
    peak_ptr,
    rest_ptr,
    vocabulary,
    stride_target,
    LANES: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    begin = tl.load(offsets_ptr + row)
    end = tl.load(offsets_ptr + row + 1)
    target = tl.load(targets_ptr + row * stride_target).to(tl.int64)
    lane = tl.arange(0, LANES)
    highest = tl.full([LANES], LOWEST, tl.float32)
    z_t = tl.full([LANES], -float("inf"), tl.float32)
    for start in range(begin, end, LANES):
        z, is_target = _points(z_ptr, ids_ptr, start + lane, end, target)
        z_t = tl.where(is_target, z, z_t)
        highest = tl.maximum(highest, tl.where(is_target, -float("inf"), z))
    top = tl.max(highest, 0)
    z_t = tl.max(z_t, 0)
    z_t = tl.where((target >= 0) & (target < vocabulary), z_t, float("nan"))

    total = tl.zeros([LANES], tl.float32)
    spread = tl.zeros([LANES], tl.float32)
    for start in range(begin, end, LANES):
        z, is_target = _points(z_ptr, ids_ptr, start + lane, end, target)
        below = tl.maximum(
            tl.where(is_target, -float("inf"), z - top), FLOOR, propagate_nan=tl.PropagateNan.ALL
        )
        e = tl.exp(below)
        total += e
        spread -= e * below
    logprob, entropy, rest = combine(z_t - top, tl.sum(total, 0), tl.sum(spread, 0))
    tl.store(logprobs_ptr + row, logprob)
    tl.store(entropy_ptr + row, entropy)
    tl.store(peak_ptr + row, tl.maximum(top, z_t))
    tl.store(rest_ptr + row, rest)


@triton.jit
def _points(z_ptr, ids_ptr, entry, end, target):
    """(z, whether it is the target's) of some entries; -inf from `end` on."""
    inside = entry < end
    z = tl.load(z_ptr + entry, mask=inside, other=-float("inf"))
    token_id = tl.load(ids_ptr + entry, mask=inside, other=-1).to(tl.int64)
    return z, inside & (token_id == target)


@triton.jit
def slopes_kernel(
    z_ptr,
    ids_ptr,
    rows_ptr,
    targets_ptr,
    temperature_ptr,
    logprobs_ptr,
    entropy_ptr,
    peak_ptr,
    rest_ptr,
    grad_logprobs_ptr,
    grad_entropy_ptr,
    grad_lse_ptr,
    dx_ptr,
    softcap,
    entries,
    stride_target,
    stride_temperature,
    stride_grad_logprobs,
    stride_grad_entropy,
    stride_grad_lse,
    POINTS: tl.constexpr,
):
    entry = tl.program_id(0) * POINTS + tl.arange(0, POINTS)
    inside = entry < entries
    row = tl.load(rows_ptr + entry, mask=inside, other=0)
    token_id = tl.load(ids_ptr + entry, mask=inside, other=0).to(tl.int64)
    z = tl.load(z_ptr + entry, mask=inside, other=0.0)
    target = tl.load(targets_ptr + row * stride_target).to(tl.int64)
    temperature = tl.load(temperature_ptr + row * stride_temperature)
    logprob = tl.load(logprobs_ptr + row)
    entropy = tl.load(entropy_ptr + row)
    peak = tl.load(peak_ptr + row)
    rest = tl.load(rest_ptr + row)
    g = tl.load(grad_logprobs_ptr + row * stride_grad_logprobs) / temperature
    e = tl.load(grad_entropy_ptr + row * stride_grad_entropy) / temperature
    of_lse = tl.load(grad_lse_ptr + row * stride_grad_lse) / temperature

    logp = tl.maximum((z - peak) - rest, FLOOR)
    dx = tl.exp(logp) * (of_lse - g - e * entropy - e * logp)
    at_target = tl.exp(logprob) * (of_lse - e * (tl.maximum(logprob, FLOOR) + entropy)) - g * expm1(logprob)
    at_target = tl.where(rest == float("inf"), 0.0, at_target)
    dx = tl.where(token_id == target, at_target, dx)
    if softcap is not None:
        capped = z * temperature / softcap
        dx *= 1.0 - capped * capped
    tl.store(dx_ptr + entry, dx, mask=inside)


@triton.jit
def sums_kernel(
    source_ptr,
    index_ptr,
    coefficient_ptr,
    starts_ptr,
    count_ptr,
    destination_ptr,
    out_ptr,
    segments,
    source_rows,
    out_rows,
    hidden_size,
    stride_source,
    stride_out,
    ENTRIES: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    tiles = tl.cdiv(hidden_size, COLUMNS)
    column = tl.program_id(0) % tiles * COLUMNS + tl.arange(0, COLUMNS)
    left = column < hidden_size
    if count_ptr is not None:
        segments = tl.load(count_ptr)
    first = (tl.program_id(0) // tiles).to(tl.int64)
    for segment in range(first, segments, tl.num_programs(0) // tiles):
        begin = tl.load(starts_ptr + segment)
        end = tl.load(starts_ptr + segment + 1)
        sums = tl.zeros([COLUMNS], tl.float32)
        block_sums = tl.zeros([COLUMNS], tl.float32)
        for start in range(begin, end, ENTRIES):
            entry = start + tl.arange(0, ENTRIES)
            inside = entry < end
            place = tl.load(index_ptr + entry, mask=inside, other=0).to(tl.int64)
            coefficient = tl.load(coefficient_ptr + entry, mask=inside, other=0.0)
            inside = inside & (place >= 0) & (place < source_rows)
            rows = tl.load(
                source_ptr + (place * stride_source)[:, None] + column[None, :],
                mask=inside[:, None] & left[None, :],
                other=0.0,
            )
            block_sums += tl.sum(coefficient[:, None] * rows.to(tl.float32), 0)
            if (start - begin) % BLOCK == BLOCK - ENTRIES:
                sums += block_sums
                block_sums = tl.zeros([COLUMNS], tl.float32)
        sums += block_sums
        place = segment
        if destination_ptr is not None:
            place = tl.load(destination_ptr + begin).to(tl.int64)
        tl.store(
            out_ptr + place * stride_out + column,
            sums.to(out_ptr.dtype.element_ty),
            mask=left & (place >= 0) & (place < out_rows),
        )


def specialisations(warp_size: int) -> list[Specialisation]:
    """What CI compiles: rows of 16-bit and 32-bit numbers, every option of the operator on and off."""
    made = []
    f32, i64 = torch.float32, torch.int64

    def products(
        dtype: torch.dtype, optional: bool, entries: int, vocabulary: int, hidden_size: int
    ) -> Specialisation:
        return Specialisation(
            name=f"{ELEMENT_TYPES[dtype]}, V = {vocabulary}{', bias, softcap' if optional else ''}",
            kernel=products_kernel,
            arguments={"hidden_ptr": dtype, "weight_ptr": dtype, "bias_ptr": dtype if optional else None}
            | {"ids_ptr": i64, "rows_ptr": i64, "temperature_ptr": f32, "z_ptr": f32}
            | {
                "softcap": 30.0 if optional else None,
                "entries": entries,
                "vocabulary": vocabulary,
                "hidden_size": hidden_size,
            }
            | {"stride_hidden": hidden_size, "stride_weight": hidden_size}
            | {"stride_bias": int(optional), "stride_temperature": 0},
            wide_loads=True,
            constants=PRODUCTS,
            num_warps=WARPS,
        )

    def sums(dtype: torch.dtype, of: str, segments: int, vocabulary: int, hidden_size: int) -> Specialisation:
        by_id = None if of == "hidden" else i64
        return Specialisation(
            name=f"{ELEMENT_TYPES[dtype]}, of {of}",
            kernel=sums_kernel,
            arguments={"source_ptr": dtype, "index_ptr": i64, "coefficient_ptr": f32, "starts_ptr": i64}
            | {"count_ptr": by_id, "destination_ptr": by_id, "out_ptr": dtype, "segments": segments}
            | {
                "source_rows": vocabulary if of == "hidden" else 8192,
                "out_rows": 8192 if of == "hidden" else vocabulary,
            }
            | {
                "hidden_size": hidden_size,
                "stride_source": 0 if of == "bias" else hidden_size,
                "stride_out": hidden_size,
            },
            wide_loads=of != "bias",
            constants=SUMS,
            num_warps=WARPS,
        )

    for dtype in (torch.bfloat16, torch.float32):
        made += [
            products(dtype, False, 131_072, 151_936, 4096),
            products(dtype, True, 131_071, 151_669, 896),
            sums(dtype, "hidden", 8192, 151_936, 4096),
            sums(dtype, "weight", 131_071, 151_669, 896),
        ]
    made.append(sums(torch.bfloat16, "bias", 131_071, 151_669, 1))
    numbers = {"z_ptr": f32, "ids_ptr": i64}
    state = dict.fromkeys(("logprobs_ptr", "entropy_ptr", "peak_ptr", "rest_ptr"), f32)
    made.append(
        Specialisation(
            name="V = 151936",
            kernel=reduction_kernel,
            arguments=numbers
            | {"offsets_ptr": i64, "targets_ptr": i64}
            | state
            | {"vocabulary": 151_936, "stride_target": 1},
            constants={"LANES": warp_size},
            num_warps=1,
        )
    )
    gradients = ("grad_logprobs", "grad_entropy", "grad_lse")
    for softcap in (None, 30.0):
        made.append(
            Specialisation(
                name="softcap" if softcap else "plain",
                kernel=slopes_kernel,
                arguments=numbers
                | {"rows_ptr": i64, "targets_ptr": i64, "temperature_ptr": f32}
                | state
                | {f"{name}_ptr": f32 for name in gradients}
                | {"dx_ptr": f32, "softcap": softcap, "entries": 131_071}
                | {"stride_target": 1, "stride_temperature": 0}
                | {f"stride_{name}": 1 for name in gradients},
                constants={"POINTS": POINTS},
                num_warps=WARPS,
            )
        )
    return made
