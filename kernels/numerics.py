"""Device functions that kernels share. None needs libdevice, which Triton's interpreter cannot run."""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)

LOWEST = tl.constexpr(-1e20)
"""Where a running maximum begins. Logits below it count as -inf; differences from it are finite."""

FLOOR = tl.constexpr(-1e30)
"""Below every exponent that is not 0 after `exp2`. A clamp to it lets 0 multiply what was -inf."""


@triton.jit
def log1p(x):
    """log(1 + x) for x >= 0, to rounding: the error of 1 + x is divided out (W. Kahan)."""
    w = 1.0 + x
    return tl.where(w == 1.0, x, tl.log(w) * (x / tl.where(w == 1.0, 1.0, w - 1.0)))


@triton.jit
def expm1(x):
    """exp(x) - 1, to rounding, likewise."""
    w = tl.exp(x)
    small = (w - 1.0) * (x / tl.where((w == 1.0) | (w == 0.0), 1.0, tl.log(w)))
    return tl.where(w == 1.0, x, tl.where(w < 0.5, w - 1.0, small))


@triton.jit
def combine(delta, total, spread):
    """(logprob, entropy, rest) from the target's logit less the others' largest, and the others' sum and
    spread, in nats; see `distribution.combine`."""
    none = total == 0.0
    safe = tl.where(none, 1.0, total)
    log_total = tl.where(none, -float("inf"), tl.log(safe))
    gap = log_total - delta
    tail = log1p(tl.exp(-tl.abs(gap)))
    logprob = -(tl.maximum(gap, 0.0) + tail)
    logprob_o = -(tl.maximum(-gap, 0.0) + tail)
    p_t = tl.exp(logprob)
    p_o = tl.exp(logprob_o)
    entropy_o = tl.where(none, 0.0, log_total + spread / safe)
    entropy = p_o * (entropy_o - tl.maximum(logprob_o, FLOOR)) - p_t * tl.maximum(logprob, FLOOR)
    rest = tl.maximum(log_total, delta) + tail - tl.maximum(delta, 0.0)
    masked = none & (delta == -float("inf"))
    return (
        tl.where(masked, -float("inf"), logprob),
        tl.where(masked, 0.0, entropy),
        tl.where(masked, float("inf"), rest),
    )


@triton.jit
def tanh(x):
    """tanh, to rounding."""
    e = expm1(-2.0 * tl.abs(x))
    magnitude = -e / (2.0 + e)
    return tl.where(x < 0.0, -magnitude, magnitude)


@triton.jit
def take(x, scale, reference, total, spread):
    """The running state (reference, total, spread) of each lane, after logits x [LANES, pieces, elements].

    With u = x scale - reference: total = Σ 2^u and spread = -Σ 2^u u. The reference is the largest x scale so
    far, rounded; each u is taken from it by one fused multiply-add, so that the rounding cancels."""
    highest = tl.maximum(reference, tl.max(tl.max(x, 2), 1) * scale)
    u = tl.fma(x, scale, -highest[:, None, None])
    u = tl.maximum(u, FLOOR, propagate_nan=tl.PropagateNan.ALL)
    e = tl.exp2(u)
    shift = tl.maximum(reference - highest, FLOOR)
    weight = tl.exp2(shift)
    spread = weight * (spread - shift * total) - tl.sum(tl.sum(e * u, 2), 1)
    total = weight * total + tl.sum(tl.sum(e, 2), 1)
    return highest, total, spread
