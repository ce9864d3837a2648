"""One launch: terms, gradient, sums and metrics.

    forward    A program takes a sequence where the ratio is a sequence's, and 512 tokens elsewhere. It adds
               up what its tokens give and writes their gradient. The sums go to a table with a column per
               program; the last program to finish, known by an integer ticket, adds up the table in the
               order of its columns. So the result has the same bits whichever program is last.
    backward   multiplies the gradient by the incoming one.

Only the ticket's 4 bytes are cleared beforehand, for each call anew: so calls on several streams, or
captured in several graphs, share nothing. The formulas are those of `cpu.py`. Clamps are written as
`tl.where`, since `tl.minimum` and `tl.maximum` lose NaN.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ludus.kernels.compilation import ELEMENT_TYPES, Specialisation
from ludus.kernels.grpo_loss import kl
from ludus.kernels.grpo_loss.batch import METRICS, Batch, Objective, Ratio, Settings
from ludus.kernels.grpo_loss.kl import Estimator
from ludus.kernels.numerics import expm1

LOG_RATIO_LIMIT = tl.constexpr(kl.LOG_RATIO_LIMIT)
LOWEST_LOGPROB = tl.constexpr(kl.LOWEST_LOGPROB)

SUMS = tl.constexpr(1 + len(METRICS))
"""Rows of the table of sums: the loss and the metrics."""

ROWS = tl.constexpr(triton.next_power_of_2(SUMS.value))
"""The number of rows rounded up to a power of two, as a block requires."""

MAX_DEVIATION = tl.constexpr(1 + METRICS.index("ratio_max_deviation"))
"""The row that is a maximum."""

RATIO_SUM = tl.constexpr(1 + METRICS.index("ratio_sum"))

TOKEN_BLOCK, TOKEN_WARPS = 512, 4
"""Tokens that a program takes, and its warps, where programs are not sequences: 4 for a thread."""

SCALE_BLOCK = 1024


def forward(batch: Batch, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """(loss [], metrics [7], dloss/dlogprobs [N]), float32."""
    tokens, device = len(batch.logprobs_N), batch.logprobs_N.device
    if tokens == 0:
        zero = torch.zeros((), dtype=torch.float32, device=device)
        return zero, zero.new_zeros(len(METRICS)), zero.new_zeros(0)
    if settings.ratio == "sequence":
        programs, length, offsets = batch.sequences, batch.length, batch.offsets
        block, warps = _sequence_block(tokens // batch.sequences)
    else:
        programs, length, offsets = triton.cdiv(tokens, TOKEN_BLOCK), TOKEN_BLOCK, None
        block, warps = TOKEN_BLOCK, TOKEN_WARPS
    loss, metrics, gradient, table = (
        torch.empty(shape, dtype=torch.float32, device=device)
        for shape in ((), len(METRICS), tokens, (SUMS.value, programs))
    )
    forward_kernel[(programs,)](
        batch.logprobs_N,
        batch.old_logprobs_N,
        batch.advantages_N,
        batch.weights_N,
        batch.reference_logprobs_N,
        offsets,
        gradient,
        loss,
        metrics,
        table,
        torch.zeros(1, dtype=torch.int32, device=device),
        tokens,
        length,
        settings.lower,
        settings.upper,
        settings.dual,
        settings.kl_coefficient,
        **_constants(settings, block, warps),
        num_warps=warps,
    )
    return loss, metrics, gradient


def backward(gradient: Tensor, grad_loss: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient of the log-probabilities, [N]."""
    out = torch.empty_like(gradient, dtype=dtype)
    if len(out):
        scale_kernel[(triton.cdiv(len(out), SCALE_BLOCK),)](
            gradient, grad_loss, out, len(out), BLOCK=SCALE_BLOCK, num_warps=4
        )
    return out


def _sequence_block(mean_length: int) -> tuple[int, int]:
    """(tokens that a program takes at a time, warps) for sequences of about this length."""
    if mean_length <= 512:
        return 256, 4
    return (1024, 4) if mean_length <= 2048 else (4096, 16)


def _constants(settings: Settings, block: int, warps: int) -> dict[str, Any]:
    return {
        "SEQUENCE_RATIO": settings.ratio == "sequence",
        "CISPO": settings.objective == "cispo",
        "KL": settings.kl_estimator,
        "BLOCK": block,
        "UNROLL": max(1, block // (128 * warps)),
        "COLUMNS": min(64 * warps, 512),
    }


@triton.jit
def forward_kernel(
    logprobs_ptr,
    old_logprobs_ptr,
    advantages_ptr,
    weights_ptr,
    reference_ptr,
    offsets_ptr,
    gradient_ptr,
    loss_ptr,
    metrics_ptr,
    table_ptr,
    ticket_ptr,
    tokens,
    length,
    lower,
    upper,
    dual,
    kl_coefficient,
    SEQUENCE_RATIO: tl.constexpr,
    CISPO: tl.constexpr,
    KL: tl.constexpr,
    BLOCK: tl.constexpr,
    UNROLL: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    program = tl.program_id(0)
    programs = tl.num_programs(0)
    if offsets_ptr is None:
        begin = program.to(tl.int64) * length
        count = tl.minimum(tokens - begin, length).to(tl.int32)
    else:
        begin = tl.load(offsets_ptr + program).to(tl.int64)
        count = (tl.load(offsets_ptr + program + 1) - begin).to(tl.int32)
    logprobs_ptr += begin
    old_logprobs_ptr += begin
    advantages_ptr += begin
    weights_ptr += begin
    gradient_ptr += begin
    if reference_ptr is not None:
        reference_ptr += begin
    LANES: tl.constexpr = BLOCK // UNROLL
    place = tl.arange(0, UNROLL)[:, None] * LANES + tl.arange(0, LANES)[None, :]

    # Values shared by the tokens of the sequence.
    sequence_ratio = 1.0
    mean_slope = 0.0
    if SEQUENCE_RATIO:
        kept_V = tl.zeros([LANES], tl.float32)
        d_V = tl.zeros([LANES], tl.float32)
        gain_V = tl.zeros([LANES], tl.float32)
        loss_V = tl.zeros([LANES], tl.float32)
        for offset in range(0, count, BLOCK):
            n = offset + place
            inside = n < count
            weight = tl.load(weights_ptr + n, mask=inside, other=0).to(tl.float32)
            kept = weight != 0.0
            new = _kept(logprobs_ptr, n, inside, kept)
            old = _kept(old_logprobs_ptr, n, inside, kept)
            kept_V += tl.sum(kept.to(tl.float32), 0)
            d_V += tl.sum(_floored(new) - _floored(old), 0)
            if not CISPO:
                A = _kept(advantages_ptr, n, inside, kept)
                gain_V += tl.sum(weight * tl.where(A > 0.0, A, 0.0), 0)
                loss_V += tl.sum(weight * tl.where(A < 0.0, A, 0.0), 0)
        many = tl.sum(kept_V, 0)
        many = tl.where(many == 0.0, 1.0, many)
        mean = tl.sum(d_V, 0) / many
        mean_clamped = _clamped(mean, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        sequence_ratio = tl.exp(mean_clamped)
        if not CISPO:
            gain = tl.where(sequence_ratio > upper, 0.0, tl.sum(gain_V, 0))
            stopped = (sequence_ratio < lower) | (sequence_ratio > dual)
            loss = tl.where(stopped, 0.0, tl.sum(loss_V, 0))
            mean_slope = -sequence_ratio * (gain + loss) / many
            mean_slope = tl.where(mean == mean_clamped, mean_slope, 0.0)

    total_V = tl.zeros([LANES], tl.float32)
    kept_V = tl.zeros([LANES], tl.float32)
    ratio_V = tl.zeros([LANES], tl.float32)
    deviation_V = tl.zeros([LANES], tl.float32)
    below_V = tl.zeros([LANES], tl.float32)
    above_V = tl.zeros([LANES], tl.float32)
    dual_V = tl.zeros([LANES], tl.float32)
    kl_V = tl.zeros([LANES], tl.float32)
    for offset in range(0, count, BLOCK):
        n = offset + place
        inside = n < count
        weight = tl.load(weights_ptr + n, mask=inside, other=0).to(tl.float32)
        kept = weight != 0.0
        new = _kept(logprobs_ptr, n, inside, kept)
        old = _kept(old_logprobs_ptr, n, inside, kept)
        A = _kept(advantages_ptr, n, inside, kept)

        possible = new >= LOWEST_LOGPROB
        new = _floored(new)
        d = new - _floored(old)
        clamped = _clamped(d, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        smooth = possible & (d == clamped)
        rho = tl.exp(clamped)
        r = tl.broadcast_to(sequence_ratio, [UNROLL, LANES]) if SEQUENCE_RATIO else rho
        clipped = _clamped(r, lower, upper)
        if CISPO:
            below = kept & (r < lower)
            above = kept & (r > upper)
            term = -clipped * A * new
            slope = tl.where(possible, -clipped * A, 0.0)
            gradient = weight * slope
        else:
            below = (r < lower) & (A < 0.0)
            above = (r > upper) & (A > 0.0)
            past_dual = (r > dual) & (A < 0.0)
            dual_V += tl.sum(past_dual.to(tl.float32), 0)
            term = -tl.where(past_dual, dual, tl.where(below | above, clipped, r)) * A
            if SEQUENCE_RATIO:
                gradient = tl.where(possible, mean_slope, 0.0)
            else:
                gradient = tl.where(smooth & ~(below | above | past_dual), -weight * A * r, 0.0)
        if reference_ptr is not None:
            reference = _floored(_kept(reference_ptr, n, inside, kept))
            value, slope = _kl(KL, new - reference, smooth, possible)
            term += kl_coefficient * rho * value
            gradient += kl_coefficient * weight * rho * slope
        tl.store(gradient_ptr + n, tl.where(kept, gradient, 0.0), mask=inside)

        total_V += tl.sum(tl.where(kept, weight * term, 0.0), 0)
        kept_V += tl.sum(kept.to(tl.float32), 0)
        ratio_V += tl.sum(tl.where(kept, r, 0.0), 0)
        deviation_V = tl.maximum(deviation_V, tl.max(tl.where(kept, tl.abs(r - 1.0), 0.0), 0))
        below_V += tl.sum(below.to(tl.float32), 0)
        above_V += tl.sum(above.to(tl.float32), 0)
        kl_V += tl.sum(tl.where(kept, expm1(clamped) - clamped, 0.0), 0)

    sums_ptr = table_ptr + program
    tl.store(sums_ptr, tl.sum(total_V, 0))
    tl.store(sums_ptr + programs, tl.sum(kept_V, 0))
    tl.store(sums_ptr + 2 * programs, tl.sum(ratio_V, 0))
    tl.store(sums_ptr + 3 * programs, tl.max(deviation_V, 0))
    tl.store(sums_ptr + 4 * programs, tl.sum(below_V, 0))
    tl.store(sums_ptr + 5 * programs, tl.sum(above_V, 0))
    tl.store(sums_ptr + 6 * programs, tl.sum(dual_V, 0))
    tl.store(sums_ptr + 7 * programs, tl.sum(kl_V, 0))
    tl.debug_barrier()
    finished = tl.atomic_add(ticket_ptr, 1, sem="acq_rel", scope="gpu")
    if finished == programs - 1:
        row = tl.arange(0, ROWS)
        sums = tl.zeros([ROWS, COLUMNS], tl.float32)
        for column in range(0, programs, COLUMNS):
            columns = column + tl.arange(0, COLUMNS)
            part = tl.load(
                table_ptr + row[:, None] * programs + columns[None, :],
                mask=(row < SUMS)[:, None] & (columns < programs)[None, :],
                other=0.0,
                cache_modifier=".cg",
            )
            sums = tl.where(row[:, None] == MAX_DEVIATION, tl.maximum(sums, part), sums + part)
        result = tl.where(row == MAX_DEVIATION, tl.max(sums, 1), tl.sum(sums, 1))
        ratio_sum = tl.sum(tl.where(row == RATIO_SUM, result, 0.0), 0)
        lost = tl.where(ratio_sum == ratio_sum, result, ratio_sum)  # a maximum loses NaN
        result = tl.where(row == MAX_DEVIATION, lost, result)
        tl.store(loss_ptr + row, result, mask=row == 0)
        tl.store(metrics_ptr + row - 1, result, mask=(row >= 1) & (row < SUMS))


@triton.jit
def scale_kernel(gradient_ptr, grad_loss_ptr, out_ptr, tokens, BLOCK: tl.constexpr):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    factor = tl.load(grad_loss_ptr).to(tl.float32)
    gradient = tl.load(gradient_ptr + n, mask=n < tokens, other=0.0) * factor
    tl.store(out_ptr + n, gradient.to(out_ptr.dtype.element_ty), mask=n < tokens)


@triton.jit
def _kept(pointer, n, inside, kept):
    """The values of each token, in float32; 0 where its weight is 0."""
    return tl.where(kept, tl.load(pointer + n, mask=inside, other=0.0).to(tl.float32), 0.0)


@triton.jit
def _floored(x):
    return tl.where(x < LOWEST_LOGPROB, LOWEST_LOGPROB, x)


@triton.jit
def _clamped(x, low, high):
    return tl.where(x < low, low, tl.where(x > high, high, x))


@triton.jit
def _kl(KL: tl.constexpr, d, smooth, possible):
    """(the estimator, and the slope of the term in log π), both over ρ; see `cpu._kl`."""
    if KL == "k1":
        value = d
        slope = tl.where(smooth, d, 0.0)
    elif KL == "k2":
        value = 0.5 * d * d
        slope = tl.where(possible, d, 0.0)
    else:
        e = expm1(_clamped(-d, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
        value = e + d
        near = tl.where(tl.abs(d) <= LOG_RATIO_LIMIT, -e, 1.0)
        slope = tl.where(smooth, value, 0.0) + tl.where(possible, near, 0.0)
    return value, slope


def specialisations(warp_size: int) -> list[Specialisation]:
    """What CI compiles: both ratios, both objectives, every estimator; padded and packed sequences; rows off
    16 bytes; more than 2³¹ tokens."""

    def settings(ratio: Ratio, objective: Objective, estimator: Estimator) -> Settings:
        return Settings(ratio, objective, 0.8, 1.28, 3.0, estimator, 0.1)

    clip, cispo = settings("token", "clip", "k3"), settings("token", "cispo", "k3")
    gspo, gspo_cispo = settings("sequence", "clip", "k2"), settings("sequence", "cispo", "k1")
    floats, packed, mask = torch.float32, torch.int64, torch.bool
    per_token = TOKEN_BLOCK, (TOKEN_BLOCK, TOKEN_WARPS)
    made = []
    for name, chosen, weights, reference, offsets, tokens, (length, (block, warps)) in (
        ("tokens", clip, floats, None, None, 16_384, per_token),
        ("tokens, masked", clip, mask, None, None, 16_384, per_token),
        ("tokens, k3", clip, floats, floats, None, 16_384, per_token),
        ("tokens, off 16 bytes", clip, floats, floats, None, 16_385, per_token),
        ("tokens, more than 2³¹", clip, floats, floats, None, 2**31 + 16, per_token),
        ("tokens, cispo", cispo, floats, None, None, 16_384, per_token),
        ("padded, sequence cispo", gspo_cispo, floats, floats, None, 16_384, (2048, _sequence_block(2048))),
        ("packed, sequence, short", gspo, floats, None, packed, 16_384, (0, _sequence_block(100))),
        ("packed, sequence", gspo, floats, None, packed, 16_384, (0, _sequence_block(2048))),
        ("packed, sequence, long", gspo, floats, floats, packed, 2**20, (0, _sequence_block(65_536))),
        (
            "padded, sequence, long",
            gspo,
            floats,
            floats,
            None,
            2**32 + 32,
            (2**31 + 16, _sequence_block(2**31)),
        ),
    ):
        inputs = dict.fromkeys(("logprobs_ptr", "old_logprobs_ptr", "advantages_ptr"), floats)
        outputs = ("gradient_ptr", "loss_ptr", "metrics_ptr", "table_ptr")
        made.append(
            Specialisation(
                name=name,
                kernel=forward_kernel,
                arguments=inputs
                | {"weights_ptr": weights, "reference_ptr": reference, "offsets_ptr": offsets}
                | dict.fromkeys(outputs, floats)
                | {"ticket_ptr": torch.int32, "tokens": tokens, "length": length}
                | {"lower": 0.8, "upper": 1.28, "dual": 3.0, "kl_coefficient": 0.1},
                constants=_constants(chosen, block, warps),
                num_warps=warps,
                wide_loads=offsets is None and tokens % 16 == 0,
            )
        )
    for dtype in (torch.float32, torch.bfloat16):
        pointers = {"gradient_ptr": floats, "grad_loss_ptr": floats, "out_ptr": dtype}
        made.append(
            Specialisation(
                name=ELEMENT_TYPES[dtype],
                kernel=scale_kernel,
                arguments=pointers | {"tokens": 16_384},
                constants={"BLOCK": SCALE_BLOCK},
                wide_loads=True,
            )
        )
    return made
