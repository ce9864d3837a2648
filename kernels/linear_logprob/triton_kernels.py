"""The device side of `triton`: what its three kernels compute.

Formulas are in powers of two, with scale = log2(e) / T: a maximum m is kept as the float32 next to x scale,
and a logit's height above it is one fused multiply-add, x scale - m. So m is exact, and a common shift costs
no digits.
"""

import triton
import triton.language as tl

from ludus.kernels.numerics import FLOOR, LN2, LOG2E, LOWEST, combine


@triton.jit
def forward_kernel(
    hidden,
    weight,
    targets_ptr,
    temperature_ptr,
    bias_ptr,
    state_ptr,
    softcap,
    rows,
    vocabulary,
    hidden_size,
    splits,
    stride_hidden,
    stride_weight,
    stride_target,
    stride_temperature,
    DESCRIPTORS: tl.constexpr,
    EVEN_HIDDEN: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_VOCABULARY: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,
):
    # GROUP blocks of rows go through all splits together: their hidden states stay in the L2 cache, and a
    # tile of the weight that one of them loads is there for the others.
    program = tl.program_id(0)
    blocks = tl.cdiv(rows, BLOCK_ROWS)
    group = program // (GROUP * splits)
    members = tl.minimum(blocks - group * GROUP, GROUP)
    within = program - group * GROUP * splits
    block = group * GROUP + within % members
    split = within // members

    first_row = block * BLOCK_ROWS
    place = tl.arange(0, BLOCK_ROWS)
    row = (first_row + place).to(tl.int64)
    inside = row < rows
    target = tl.load(targets_ptr + row * stride_target, mask=inside, other=-1).to(tl.int32)
    scale = LOG2E / tl.load(temperature_ptr + row * stride_temperature, mask=inside, other=1.0)

    maximum = tl.full([BLOCK_ROWS], LOWEST, tl.float32)
    total = tl.zeros([BLOCK_ROWS], tl.float32)
    spread = tl.zeros([BLOCK_ROWS], tl.float32)
    tiles = tl.cdiv(vocabulary, BLOCK_VOCABULARY)
    steps = tl.cdiv(hidden_size, BLOCK_HIDDEN)
    tl.assume(steps > 0)
    word = tl.arange(0, BLOCK_VOCABULARY)
    along = tl.arange(0, BLOCK_HIDDEN)
    for tile in tl.range(tiles * split // splits, tiles * (split + 1) // splits, flatten=True):
        first_word = tile * BLOCK_VOCABULARY
        x = tl.zeros([BLOCK_ROWS, BLOCK_VOCABULARY], tl.float32)
        for step in tl.range(0, steps):
            start = step * BLOCK_HIDDEN
            if DESCRIPTORS:
                h = hidden.load([first_row, start])
                w = weight.load([first_word, start])
            else:
                # Offsets within a tile fit in 32 bits; the tile's own need not.
                h_row = tl.minimum(place, rows - 1 - first_row)
                w_row = tl.minimum(word, vocabulary - 1 - first_word)
                h_ptr = hidden + first_row.to(tl.int64) * stride_hidden + start
                w_ptr = weight + first_word.to(tl.int64) * stride_weight + start
                h_place = h_row[:, None] * stride_hidden + along[None, :]
                w_place = w_row[:, None] * stride_weight + along[None, :]
                if EVEN_HIDDEN:
                    h = tl.load(h_ptr + h_place)
                    w = tl.load(w_ptr + w_place)
                else:
                    h = tl.load(h_ptr + h_place, mask=along[None, :] < hidden_size - start, other=0.0)
                    w = tl.load(w_ptr + w_place, mask=along[None, :] < hidden_size - start, other=0.0)
            x = tl.dot(h, w.T, x, input_precision="ieee")
        if bias_ptr is not None:
            b = tl.load(bias_ptr + first_word + word, mask=word < vocabulary - first_word, other=0.0).to(
                tl.float32
            )
            x += b[None, :]
        if HAS_SOFTCAP:
            x = softcap * _tanh(x / softcap)
        if bias_ptr is not None:
            x = tl.maximum(x, FLOOR)
        other = word[None, :] != (target - first_word)[:, None]
        if HAS_SOFTCAP and BLOCK_VOCABULARY > 128:  # a branch here would need more registers than there are
            x = tl.where(other & (word < vocabulary - first_word)[None, :], x, FLOOR)
        else:
            x = tl.where(other, x, FLOOR)
            if first_word + BLOCK_VOCABULARY > vocabulary:
                x = tl.where((word < vocabulary - first_word)[None, :], x, FLOOR)

        highest = tl.maximum(maximum, tl.max(x, 1) * scale)
        below = tl.fma(x, scale[:, None], -highest[:, None])
        e = tl.exp2(below)
        shift = maximum - highest
        faded = tl.exp2(shift)
        spread = faded * (spread - shift * total) - tl.sum(e * below, 1)
        total = faded * total + tl.sum(e, 1)
        maximum = highest

    out = state_ptr + (split.to(tl.int64) * 3) * rows + row
    tl.store(out, maximum, mask=inside)
    tl.store(out + rows, total, mask=inside)
    tl.store(out + 2 * rows, spread, mask=inside)


@triton.jit
def finish_kernel(
    hidden_ptr,
    weight_ptr,
    targets_ptr,
    temperature_ptr,
    bias_ptr,
    state_ptr,
    logprobs_ptr,
    entropy_ptr,
    lse_ptr,
    peak_ptr,
    rest_ptr,
    softcap,
    rows,
    vocabulary,
    hidden_size,
    splits,
    stride_hidden,
    stride_weight,
    stride_target,
    stride_temperature,
    HAS_SOFTCAP: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets_ptr + row * stride_target).to(tl.int64)
    scale = LOG2E / tl.load(temperature_ptr + row * stride_temperature)
    in_range = (target >= 0) & (target < vocabulary)

    products = tl.zeros([BLOCK], tl.float32)
    place = tl.arange(0, BLOCK)
    for start in range(0, hidden_size, BLOCK):
        inside = place < hidden_size - start
        h = tl.load(hidden_ptr + row * stride_hidden + start + place, mask=inside, other=0.0)
        w = tl.load(weight_ptr + target * stride_weight + start + place, mask=inside & in_range, other=0.0)
        products += h.to(tl.float32) * w.to(tl.float32)
    x_t = tl.sum(products, 0)
    if bias_ptr is not None:
        x_t += tl.load(bias_ptr + target, mask=in_range, other=0.0).to(tl.float32)
    if HAS_SOFTCAP:
        x_t = softcap * _tanh(x_t / softcap)
    x_t = tl.where(in_range, x_t, float("nan"))

    split = tl.arange(0, SPLITS)
    state = state_ptr + split.to(tl.int64) * 3 * rows + row
    maximum = tl.load(state, mask=split < splits, other=LOWEST)
    total = tl.load(state + rows, mask=split < splits, other=0.0)
    spread = tl.load(state + 2 * rows, mask=split < splits, other=0.0)
    top = tl.max(maximum, 0)
    shift = maximum - top
    faded = tl.exp2(shift)
    spread = tl.sum(faded * (spread - shift * total), 0) * LN2
    total = tl.sum(faded * total, 0)

    logprob, entropy, rest = combine(tl.fma(x_t, scale, -top) * LN2, total, spread)
    # `combine` measured rest from the larger of top and x_t scale; it is to be from what that is rounded to.
    peak = tl.maximum(top, x_t * scale)
    rest += tl.maximum(top - peak, tl.fma(x_t, scale, -peak)) * LN2
    tl.store(logprobs_ptr + row, logprob)
    tl.store(entropy_ptr + row, entropy)
    tl.store(lse_ptr + row, tl.where(rest == float("inf"), -float("inf"), peak * LN2 + rest))
    tl.store(peak_ptr + row, peak)
    tl.store(rest_ptr + row, rest)


@triton.jit
def backward_kernel(
    x_ptr,
    dx_ptr,
    targets_ptr,
    temperature_ptr,
    bias_ptr,
    peak_ptr,
    rest_ptr,
    constant_ptr,
    at_target_ptr,
    grad_entropy_ptr,
    softcap,
    vocabulary,
    first_word,
    stride_x,
    stride_dx,
    stride_target,
    stride_temperature,
    stride_grad_entropy,
    HAS_SOFTCAP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    word = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = word < vocabulary
    target = tl.load(targets_ptr + row * stride_target).to(tl.int32) - first_word
    temperature = tl.load(temperature_ptr + row * stride_temperature)
    peak = tl.load(peak_ptr + row)
    rest = tl.load(rest_ptr + row)
    constant = tl.load(constant_ptr + row)
    at_target = tl.load(at_target_ptr + row)

    x = tl.load(x_ptr + row * stride_x + word, mask=inside, other=0.0)
    if bias_ptr is not None:
        x += tl.load(bias_ptr + word, mask=inside, other=0.0).to(tl.float32)
    slope = 1.0 / temperature
    if HAS_SOFTCAP:
        capped = _tanh(x / softcap)
        slope = (1.0 - capped * capped) / temperature
        x = softcap * capped
    scale = LOG2E / temperature
    log2_p = tl.fma(x, scale, -peak) - rest * LOG2E
    if bias_ptr is not None:
        log2_p = tl.maximum(log2_p, FLOOR)
    dz = tl.exp2(log2_p)
    if grad_entropy_ptr is not None:
        e = tl.load(grad_entropy_ptr + row * stride_grad_entropy)
        dz *= constant - e * LN2 * log2_p
    else:
        dz *= constant
    dz = tl.where(rest == float("inf"), 0.0, tl.where(word == target, at_target, dz))
    tl.store(dx_ptr + row * stride_dx + word, (dz * slope).to(dx_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _tanh(x):
    """tanh to 1e-7 absolute, in fewer registers than `numerics.tanh`: the tile's sums leave none to spare."""
    faded = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - faded) / (1.0 + faded)
    return tl.where(x < 0, -size, size)
