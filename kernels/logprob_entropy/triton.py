"""Fused kernels: one program a row, one pass over it.

    forward    reads a row once; every thread keeps a running (maximum, sum, spread) of its own, so that nothing is
               exchanged between threads before the row's end
    backward   reads it once more and writes the gradient

All loads but a few are of 16 bytes. A row that does not begin on such a boundary (V not divisible by 8) is read
from the first boundary on; what stands before it is loaded element by element, as is the last, incomplete block.
The formulas are those of `cpu.py`, in powers of two.
"""

import itertools

import torch
import triton
import triton.language as tl
from torch import Tensor

from ludus.kernels.compilation import ELEMENT_TYPES, Specialisation, warp_size
from ludus.kernels.numerics import FLOOR, LN2, LOG2E, LOWEST, combine, expm1

VECTOR = 8
"""Elements that a thread takes at a time: 16 bytes of a 16-bit type, two times 16 of a float32."""

UNROLL = 2
"""Such pieces that a thread has in flight."""

WARPS = 8


def forward(logits: Tensor, targets: Tensor, temperature_M: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(logprobs, entropy, peak, rest), each [M] float32; `peak` is not divided by the temperature here."""
    logits = _rows_of_words(logits)
    rows, words = logits.shape
    logprobs, entropy, peak, rest = (temperature_M.new_empty(rows) for _ in range(4))
    if rows:
        forward_kernel[(rows,)](
            logits,
            targets,
            temperature_M,
            logprobs,
            entropy,
            peak,
            rest,
            words,
            logits.stride(0),
            targets.stride(0),
            temperature_M.stride(0),
            **_constants(logits.stride(0), warp_size()),
            num_warps=WARPS,
        )
    return logprobs, entropy, peak, rest


def backward(
    logits: Tensor,
    targets: Tensor,
    temperature_M: Tensor,
    logprobs: Tensor,
    entropy: Tensor,
    peak: Tensor,
    rest: Tensor,
    grad_logprobs: Tensor,
    grad_entropy: Tensor,
) -> Tensor:
    """The gradient of the logits, [M, V] in their dtype."""
    logits = _rows_of_words(logits)
    rows, words = logits.shape
    # Rows of the gradient begin at the same offset from a 16-byte boundary as rows of the logits.
    pitch = words + (logits.stride(0) - words) % VECTOR
    gradient = torch.empty((rows, pitch), dtype=logits.dtype, device=logits.device)[:, :words]
    if rows:
        backward_kernel[(rows,)](
            logits,
            targets,
            temperature_M,
            logprobs,
            entropy,
            peak,
            rest,
            grad_logprobs,
            grad_entropy,
            gradient,
            words,
            logits.stride(0),
            pitch,
            targets.stride(0),
            temperature_M.stride(0),
            grad_logprobs.stride(0),
            grad_entropy.stride(0),
            **_constants(logits.stride(0), warp_size()),
            num_warps=WARPS,
        )
    return gradient


def _rows_of_words(logits: Tensor) -> Tensor:
    """A copy only where the words of a row do not lie side by side."""
    return logits if logits.stride(1) == 1 or logits.shape[1] == 1 else logits.contiguous()


def _constants(stride_row: int, warp_size: int) -> dict[str, int | bool]:
    return {
        "ALIGNED": stride_row % VECTOR == 0,
        "LANES": WARPS * warp_size,
        "UNROLL": UNROLL,
        "VECTOR": VECTOR,
    }


@triton.jit
def forward_kernel(
    logits_ptr,
    targets_ptr,
    temperature_ptr,
    logprobs_ptr,
    entropy_ptr,
    peak_ptr,
    rest_ptr,
    words,
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
    maximum = tl.full([LANES], LOWEST, tl.float32)
    total = tl.zeros([LANES], tl.float32)
    spread = tl.zeros([LANES], tl.float32)

    place = _places(LANES, UNROLL, VECTOR)
    head = 0
    if not ALIGNED:
        head = ((VECTOR - start % VECTOR) % VECTOR).to(tl.int32)
        x = tl.load(logits_ptr + start + place, mask=place < tl.minimum(head, words), other=-float("inf"))
        maximum, total, spread = _take(x, place, target, scale, maximum, total, spread)
    body = tl.multiple_of(start + head, VECTOR)
    whole = head + tl.maximum(words - head, 0) // (LANES * UNROLL * VECTOR) * (LANES * UNROLL * VECTOR)
    for offset in range(0, whole - head, LANES * UNROLL * VECTOR):
        x = tl.load(logits_ptr + body + offset + place)
        maximum, total, spread = _take(x, place + head + offset, target, scale, maximum, total, spread)
    rest = place + whole
    x = tl.load(logits_ptr + body + (whole - head) + place, mask=rest < words, other=-float("inf"))
    maximum, total, spread = _take(x, rest, target, scale, maximum, total, spread)

    top = tl.max(maximum, 0)
    shift = (maximum - top) * scale
    weight = tl.exp2(tl.maximum(shift, FLOOR))
    spread = tl.sum(weight * (spread - tl.maximum(shift, FLOOR) * total), 0) * LN2
    total = tl.sum(weight * total, 0)

    in_range = (target >= 0) & (target < words)
    x_t = tl.load(logits_ptr + start + target, mask=in_range, other=float("nan")).to(tl.float32)
    logprob, entropy, rest = combine((x_t - top) * scale * LN2, total, spread)
    tl.store(logprobs_ptr + row, logprob)
    tl.store(entropy_ptr + row, entropy)
    tl.store(peak_ptr + row, tl.maximum(top, x_t))
    tl.store(rest_ptr + row, rest)


@triton.jit
def backward_kernel(
    logits_ptr,
    targets_ptr,
    temperature_ptr,
    logprobs_ptr,
    entropy_ptr,
    peak_ptr,
    rest_ptr,
    grad_logprobs_ptr,
    grad_entropy_ptr,
    gradient_ptr,
    words,
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
    peak = tl.load(peak_ptr + row)
    rest = tl.load(rest_ptr + row)
    g = tl.load(grad_logprobs_ptr + row * stride_grad_logprobs) * inverse
    e = tl.load(grad_entropy_ptr + row * stride_grad_entropy) * inverse
    scale = inverse * LOG2E
    shift = rest * LOG2E
    # dz = p (linear log2 p + constant)
    linear = -e * LN2
    constant = -g - e * entropy
    at_target = -g * expm1(logprob) - e * tl.exp(logprob) * (tl.maximum(logprob, FLOOR) + entropy)
    at_target = tl.where(rest == float("inf"), 0.0, at_target)

    place = _places(LANES, UNROLL, VECTOR)
    head = 0
    if not ALIGNED:
        head = ((VECTOR - start % VECTOR) % VECTOR).to(tl.int32)
        inside = place < tl.minimum(head, words)
        x = tl.load(logits_ptr + start + place, mask=inside, other=-float("inf"))
        dz = _gradient(x, place, target, peak, scale, shift, linear, constant, at_target)
        tl.store(gradient_ptr + out + place, dz.to(gradient_ptr.dtype.element_ty), mask=inside)
    body = tl.multiple_of(start + head, VECTOR)
    body_out = tl.multiple_of(out + head, VECTOR)
    whole = head + tl.maximum(words - head, 0) // (LANES * UNROLL * VECTOR) * (LANES * UNROLL * VECTOR)
    for offset in range(0, whole - head, LANES * UNROLL * VECTOR):
        x = tl.load(logits_ptr + body + offset + place)
        dz = _gradient(x, place + head + offset, target, peak, scale, shift, linear, constant, at_target)
        tl.store(gradient_ptr + body_out + offset + place, dz.to(gradient_ptr.dtype.element_ty))
    rest = place + whole
    x = tl.load(logits_ptr + body + (whole - head) + place, mask=rest < words, other=-float("inf"))
    dz = _gradient(x, rest, target, peak, scale, shift, linear, constant, at_target)
    tl.store(
        gradient_ptr + body_out + (whole - head) + place,
        dz.to(gradient_ptr.dtype.element_ty),
        mask=rest < words,
    )


@triton.jit
def _places(LANES: tl.constexpr, UNROLL: tl.constexpr, VECTOR: tl.constexpr):
    """[UNROLL, LANES, VECTOR]: where in a block each element stands; a lane is a thread."""
    piece = tl.arange(0, UNROLL)[:, None, None] * (LANES * VECTOR)
    return piece + tl.arange(0, LANES)[None, :, None] * VECTOR + tl.arange(0, VECTOR)[None, None, :]


@triton.jit
def _take(x, word, target, scale, maximum, total, spread):
    """The running state of each lane after the logits x [UNROLL, LANES, VECTOR] of `word`, without the target."""
    x = tl.where(word == target, -float("inf"), x.to(tl.float32))
    highest = tl.maximum(maximum, tl.max(tl.max(x, 2), 0))
    below = tl.maximum((x - highest[None, :, None]) * scale, FLOOR)
    e = tl.exp2(below)
    shift = tl.maximum((maximum - highest) * scale, FLOOR)
    weight = tl.exp2(shift)
    spread = weight * (spread - shift * total) - tl.sum(tl.sum(e * below, 2), 0)
    total = weight * total + tl.sum(tl.sum(e, 2), 0)
    return highest, total, spread


@triton.jit
def _gradient(x, word, target, peak, scale, shift, linear, constant, at_target):
    log2_p = tl.maximum((x.to(tl.float32) - peak) * scale - shift, FLOOR)
    return tl.where(word == target, at_target, tl.exp2(log2_p) * (linear * log2_p + constant))


def specialisations(warp_size: int) -> list[Specialisation]:
    """What CI compiles: 16-bit and 32-bit logits, rows on 16-byte boundaries and off them."""
    made = []
    for dtype, words in itertools.product((torch.bfloat16, torch.float32), (151_936, 151_669)):
        row = {"words": words, "stride_row": words}
        inputs = {"logits_ptr": dtype, "targets_ptr": torch.int64, "temperature_ptr": torch.float32}
        state = dict.fromkeys(("logprobs_ptr", "entropy_ptr", "peak_ptr", "rest_ptr"), torch.float32)
        steps = {"stride_target": 1, "stride_temperature": 0}
        gradients = {
            "grad_logprobs_ptr": torch.float32,
            "grad_entropy_ptr": torch.float32,
            "gradient_ptr": dtype,
        }
        settings = {
            "name": f"{ELEMENT_TYPES[dtype]}, V = {words}",
            "constants": _constants(words, warp_size),
            "num_warps": WARPS,
            "wide_loads": True,
        }
        made += [
            Specialisation(kernel=forward_kernel, arguments=inputs | state | row | steps, **settings),
            Specialisation(
                kernel=backward_kernel,
                arguments=inputs
                | state
                | gradients
                | row
                | {"stride_gradient": words}
                | steps
                | {"stride_grad_logprobs": 1, "stride_grad_entropy": 1},
                **settings,
            ),
        ]
    return made
