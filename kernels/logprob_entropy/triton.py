"""Fused kernels: one program a row, one pass over it.

    forward    reads a row once; every thread keeps a running (reference, total, spread) of its own, so that
               nothing is exchanged between threads before the row's end
    backward   reads it once more and writes the gradient

A row's body, from its first 16-byte boundary to its last, is read 16 bytes at a time; the few entries before
and after it (say, if V is not divisible by 8) one by one. The target's block comes after the others, so that
their loop need not look for the target. The formulas are those of `cpu.py`, in powers of two and with
differences taken from a reference r:

    u = x scale - r                 scale: log2(e) / T; one rounding, in a fused multiply-add
    p = 2^(u - above)               above: the log-sum-exp above r
    dz = 2^u (slope u + level)      slope and level: the row's, with 2^-above in them
"""

import itertools

import torch
import triton
import triton.language as tl
from torch import Tensor

from ludus.kernels.compilation import ELEMENT_TYPES, Specialisation, warp_size
from ludus.kernels.distribution import RowSums
from ludus.kernels.logprob_entropy.problem import Problem
from ludus.kernels.numerics import FLOOR, LN2, LOG2E, LOWEST, combine, expm1, take

VECTOR_BYTES = 16
"""What a thread reads at a time."""

ELEMENTS = 16
"""What a thread has in flight: two such pieces of a 16-bit type, four of a float32. More would take registers
from other warps."""

WARPS = 8


def forward(problem: Problem) -> RowSums:
    """float32; `peak` is what differences were taken from, in powers of two, and `rest` in nats."""
    logits, targets, temperature_M = _rows_of_words(problem.logits), problem.targets, problem.temperature_M
    rows, vocabulary = logits.shape
    sums = RowSums(*(temperature_M.new_empty(rows) for _ in range(4)))
    if rows:
        forward_kernel[(rows,)](
            logits,
            targets,
            temperature_M,
            *sums,
            vocabulary,
            logits.stride(0),
            targets.stride(0),
            temperature_M.stride(0),
            **_constants(logits.dtype, vocabulary, logits.stride(0), warp_size()),
            num_warps=WARPS,
        )
    return sums


def backward(problem: Problem, sums: RowSums, grad_logprobs: Tensor, grad_entropy: Tensor) -> Tensor:
    """The gradient of the logits, [M, V] in their dtype."""
    logits, targets, temperature_M = _rows_of_words(problem.logits), problem.targets, problem.temperature_M
    rows, vocabulary = logits.shape
    # Rows of the gradient begin at the same offset from a 16-byte boundary as rows of the logits.
    pitch = vocabulary + (logits.stride(0) - vocabulary) % (VECTOR_BYTES // logits.itemsize)
    gradient = torch.empty((rows, pitch), dtype=logits.dtype, device=logits.device)[:, :vocabulary]
    if rows:
        backward_kernel[(rows,)](
            logits,
            targets,
            temperature_M,
            *sums,
            grad_logprobs,
            grad_entropy,
            gradient,
            vocabulary,
            logits.stride(0),
            pitch,
            targets.stride(0),
            temperature_M.stride(0),
            grad_logprobs.stride(0),
            grad_entropy.stride(0),
            **_constants(logits.dtype, vocabulary, logits.stride(0), warp_size()),
            num_warps=WARPS,
        )
    return gradient


def _rows_of_words(logits: Tensor) -> Tensor:
    """A copy only if rows are not contiguous."""
    return logits if logits.stride(1) == 1 or logits.shape[1] == 1 else logits.contiguous()


def _constants(dtype: torch.dtype, vocabulary: int, stride_row: int, warp_size: int) -> dict[str, int | bool]:
    vector = VECTOR_BYTES // dtype.itemsize
    return {
        "ALIGNED": vocabulary % vector == 0 and stride_row % vector == 0,
        "LANES": WARPS * warp_size,
        "UNROLL": ELEMENTS // vector,
        "VECTOR": vector,
    }


@triton.jit
def forward_kernel(
    logits_ptr,
    targets_ptr,
    temperature_ptr,
    logprobs_ptr,
    entropy_ptr,
    reference_ptr,
    above_ptr,
    vocabulary,
    stride_row,
    stride_target,
    stride_temperature,
    ALIGNED: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
    VECTOR: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    start = row * stride_row
    target = tl.load(targets_ptr + row * stride_target).to(tl.int32)
    scale = LOG2E / tl.load(temperature_ptr + row * stride_temperature)
    reference = tl.full([LANES], LOWEST, tl.float32)
    total = tl.zeros([LANES], tl.float32)
    spread = tl.zeros([LANES], tl.float32)

    BLOCK: tl.constexpr = LANES * UNROLL * VECTOR
    head, inner = _body(start, vocabulary, ALIGNED, VECTOR)
    body = tl.multiple_of(start + head, VECTOR)
    place = _places(LANES, UNROLL, VECTOR)
    whole, aim, has_aim = _blocks(inner, target - head, BLOCK)
    for step in range(0, whole - has_aim * BLOCK, BLOCK):
        offset = step + tl.where(step >= aim, has_aim * BLOCK, 0)
        x = tl.load(logits_ptr + body + offset + place).to(tl.float32)
        reference, total, spread = take(x, scale, reference, total, spread)
    for last in range(2):
        offset, size = _special(last, inner, whole, aim, has_aim, BLOCK)
        x = tl.load(logits_ptr + body + offset + place, mask=place < size, other=-float("inf"))
        x = tl.where(place == target - head - offset, -float("inf"), x.to(tl.float32))
        reference, total, spread = take(x, scale, reference, total, spread)
    if not ALIGNED:
        edge, inside = _edges(head, inner, vocabulary, LANES)
        x = tl.load(logits_ptr + start + edge, mask=inside, other=-float("inf")).to(tl.float32)
        x = tl.where(edge == target, -float("inf"), x)
        reference, total, spread = take(x, scale, reference, total, spread)

    top = tl.max(reference, 0)
    shift = tl.maximum(reference - top, FLOOR)
    weight = tl.exp2(shift)
    spread = tl.sum(weight * (spread - shift * total), 0) * LN2
    total = tl.sum(weight * total, 0)

    in_range = (target >= 0) & (target < vocabulary)
    x_t = tl.load(logits_ptr + start + target, mask=in_range, other=float("nan")).to(tl.float32)
    delta = tl.fma(x_t, scale, -top) * LN2
    logprob, entropy, rest = combine(delta, total, spread)
    tl.store(logprobs_ptr + row, logprob)
    tl.store(entropy_ptr + row, entropy)
    tl.store(reference_ptr + row, top)
    tl.store(above_ptr + row, rest + tl.maximum(delta, 0.0))


@triton.jit
def backward_kernel(
    logits_ptr,
    targets_ptr,
    temperature_ptr,
    logprobs_ptr,
    entropy_ptr,
    reference_ptr,
    above_ptr,
    grad_logprobs_ptr,
    grad_entropy_ptr,
    gradient_ptr,
    vocabulary,
    stride_row,
    stride_gradient,
    stride_target,
    stride_temperature,
    stride_grad_logprobs,
    stride_grad_entropy,
    ALIGNED: tl.constexpr,
    LANES: tl.constexpr,
    UNROLL: tl.constexpr,
    VECTOR: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    start = row * stride_row
    out = row * stride_gradient
    target = tl.load(targets_ptr + row * stride_target).to(tl.int32)
    inverse = 1.0 / tl.load(temperature_ptr + row * stride_temperature)
    logprob = tl.load(logprobs_ptr + row)
    entropy = tl.load(entropy_ptr + row)
    reference = tl.load(reference_ptr + row)
    above = tl.load(above_ptr + row)
    g = tl.load(grad_logprobs_ptr + row * stride_grad_logprobs) * inverse
    e = tl.load(grad_entropy_ptr + row * stride_grad_entropy) * inverse
    scale = inverse * LOG2E
    masked = above == float("inf")
    share = tl.exp2(-above * LOG2E)
    slope = -e * LN2 * share
    level = tl.where(masked, 0.0, (e * (above - entropy) - g) * share)
    at_target = -g * expm1(logprob) - e * tl.exp(logprob) * (tl.maximum(logprob, FLOOR) + entropy)
    at_target = tl.where(masked, 0.0, at_target)

    BLOCK: tl.constexpr = LANES * UNROLL * VECTOR
    head, inner = _body(start, vocabulary, ALIGNED, VECTOR)
    body = tl.multiple_of(start + head, VECTOR)
    body_out = tl.multiple_of(out + head, VECTOR)
    place = _places(LANES, UNROLL, VECTOR)
    whole, aim, has_aim = _blocks(inner, target - head, BLOCK)
    for step in range(0, whole - has_aim * BLOCK, BLOCK):
        offset = step + tl.where(step >= aim, has_aim * BLOCK, 0)
        x = tl.load(logits_ptr + body + offset + place).to(tl.float32)
        dz = _gradient(x, scale, reference, slope, level)
        tl.store(gradient_ptr + body_out + offset + place, dz.to(gradient_ptr.dtype.element_ty))
    for last in range(2):
        offset, size = _special(last, inner, whole, aim, has_aim, BLOCK)
        x = tl.load(logits_ptr + body + offset + place, mask=place < size, other=-float("inf"))
        dz = _gradient(x.to(tl.float32), scale, reference, slope, level)
        dz = tl.where(place == target - head - offset, at_target, dz).to(gradient_ptr.dtype.element_ty)
        tl.store(gradient_ptr + body_out + offset + place, dz, mask=place < size)
    if not ALIGNED:
        edge, inside = _edges(head, inner, vocabulary, LANES)
        x = tl.load(logits_ptr + start + edge, mask=inside, other=-float("inf")).to(tl.float32)
        dz = _gradient(x, scale, reference, slope, level)
        dz = tl.where(edge == target, at_target, dz)
        tl.store(gradient_ptr + out + edge, dz.to(gradient_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _body(start, vocabulary, ALIGNED: tl.constexpr, VECTOR: tl.constexpr):
    """Entries before the first boundary of a row that begins at `start`, and from there to the last one."""
    head = 0
    if not ALIGNED:
        head = tl.minimum((VECTOR - start % VECTOR) % VECTOR, vocabulary).to(tl.int32)
    return head, tl.multiple_of((vocabulary - head) // VECTOR * VECTOR, VECTOR)


@triton.jit
def _places(LANES: tl.constexpr, UNROLL: tl.constexpr, VECTOR: tl.constexpr):
    """[LANES, UNROLL, VECTOR]: where in a block each element stands; a lane is a thread. (With this order of
    axes the compiler gives a thread all pieces of its lane.)"""
    piece = tl.arange(0, UNROLL)[None, :, None] * (LANES * VECTOR)
    return piece + tl.arange(0, LANES)[:, None, None] * VECTOR + tl.arange(0, VECTOR)[None, None, :]


@triton.jit
def _edges(head, inner, vocabulary, LANES: tl.constexpr):
    """(entries outside the body, which of them exist), each [LANES, 1, 1]; there are fewer than two
    VECTORs."""
    number = tl.arange(0, LANES)[:, None, None]
    return tl.where(number < head, number, number + inner), number < vocabulary - inner


@triton.jit
def _blocks(inner, target, BLOCK: tl.constexpr):
    """Of a body of `inner` entries: how many are in whole blocks, where among them the target's block begins,
    and 1 if there is one. The main loop leaves that block out."""
    whole = inner // BLOCK * BLOCK
    aim = target // BLOCK * BLOCK
    return whole, aim, ((target >= 0) & (aim < whole)).to(tl.int32)


@triton.jit
def _special(last, inner, whole, aim, has_aim, BLOCK: tl.constexpr):
    """(offset, size) of the target's block, then of the incomplete one at the end; either may be empty."""
    offset = tl.where(last == 1, whole, aim)
    return offset, tl.where(last == 1, inner - whole, has_aim * BLOCK)


@triton.jit
def _gradient(x, scale, reference, slope, level):
    u = tl.maximum(tl.fma(x, scale, -reference), FLOOR)
    return tl.exp2(u) * (slope * u + level)


def specialisations(warp_size: int) -> list[Specialisation]:
    """What CI compiles: 16-bit and 32-bit logits, rows on 16-byte boundaries and off them, and rows that lie
    more than 2³¹ elements apart."""
    made = []
    shapes = [*itertools.product((torch.bfloat16, torch.float32), ((151_936,) * 2, (151_669,) * 2))]
    for dtype, (vocabulary, stride) in [*shapes, (torch.bfloat16, (151_936, 2**32))]:
        apart = f", stride {stride}" if stride != vocabulary else ""
        name = f"{ELEMENT_TYPES[dtype]}, V = {vocabulary}{apart}"
        inputs = {"logits_ptr": dtype, "targets_ptr": torch.int64, "temperature_ptr": torch.float32}
        state = dict.fromkeys(("logprobs_ptr", "entropy_ptr", "reference_ptr", "above_ptr"), torch.float32)
        gradients = dict.fromkeys(("grad_logprobs_ptr", "grad_entropy_ptr"), torch.float32)
        row = {"vocabulary": vocabulary, "stride_row": stride}
        steps = {"stride_target": 1, "stride_temperature": 0}
        of_gradients = {"stride_grad_logprobs": 1, "stride_grad_entropy": 1}
        for kernel, arguments in (
            (forward_kernel, inputs | state | row | steps),
            (
                backward_kernel,
                inputs
                | state
                | gradients
                | {"gradient_ptr": dtype}
                | row
                | {"stride_gradient": vocabulary}
                | steps
                | of_gradients,
            ),
        ):
            made.append(
                Specialisation(
                    name=name,
                    kernel=kernel,
                    arguments=arguments,
                    constants=_constants(dtype, vocabulary, stride, warp_size),
                    num_warps=WARPS,
                    wide_loads=True,
                )
            )
    return made
