"""What a pass computes between its matrix products, compiled for the CPU: norms, rotations, attention, gated
activations. By torch's own operators, each takes five to ten trips through memory.

A kernel takes the address of 64-bit integers: a counter, how many pieces its work is cut into, then its
arguments. Each thread takes the next piece from the counter until none is left, and no sum is ever cut, so
results do not depend on the number of threads.

Kernels close over numbers alone, which intrinsics take as literals: numba finds a kernel in its cache by what
it closes over, and an intrinsic is another one in every process.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

f32 = np.float32
Kernel = Callable[..., None]
"""Takes the number of pieces, then the arguments: integers, addresses of contiguous arrays, and floats as
`bits`. Arrays are float32 unless it says otherwise."""

TOKENS = 16
"""Of a piece, where pieces are made of tokens."""
OUTPUTS = 32
"""Rows of the weight in a piece, where pieces are made of those."""
ROWS = 2
"""Rows of the weight that are read together, so that tokens are read half as often."""
LANES = 16
"""Numbers of a vector instruction."""
FEW = 32
"""Tokens up to which `products` outruns the library's matrix product, which is made for many."""
QUERIES = 2 * LANES
"""Queries that attend together; the products of each are lanes of vectors, which no other one touches."""
_TILE = 256
"""Positions whose scores are kept at a time."""
_FEWEST = f32(-3e38)
"""The score of what a query does not see."""

_SIGNATURE = types.void(types.CPointer(types.int64))
_LOOSE = ("reassoc", "contract", "nsz")
_I32 = ir.IntType(32)
_inner = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
_sums = njit(error_model="numpy", fastmath=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Sums in an order of the compiler's choice, which makes them vector instructions."""


def bits(number: float) -> int:
    """A float64 as the integer that kernels take."""
    return int(np.float64(number).view(np.int64))


def _cast(source: Any, target: Any, instruction: str) -> Any:
    """The same bits as another type."""

    def typed(context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(arguments[0], context.get_value_type(target))

        return target(source), generate

    return intrinsic(typed)


_floats_at = _cast(types.int64, types.CPointer(types.float32), "inttoptr")
_integers_at = _cast(types.int64, types.CPointer(types.int64), "inttoptr")
_double = _cast(types.int64, types.float64, "bitcast")
_bits_of = _cast(types.float32, types.int32, "bitcast")
_of_bits = _cast(types.int32, types.float32, "bitcast")


@intrinsic
def _next(context: Any, counter: Any) -> Any:
    """The value of a counter, which grows by one, whoever else takes from it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", arguments[0], ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), generate


@_inner
def _exp(x: Any) -> Any:
    """exp x for |x| ≤ 87 as 2ⁿ exp y, with the series of exp y for |y| ≤ ½ ln 2; loops over it become vector
    instructions."""
    magic = f32(12582912.0)  # 1.5 · 2²³: a small number is rounded to an integer by adding it
    shifted = x * f32(1.4426950408889634) + magic
    n = shifted - magic
    y = (x - n * f32(0.693359375)) + n * f32(2.12194440e-4)
    series = f32(1 / 5040)
    series = series * y + f32(1 / 720)
    series = series * y + f32(1 / 120)
    series = series * y + f32(1 / 24)
    series = series * y + f32(1 / 6)
    series = series * y + f32(0.5)
    series = series * y + f32(1.0)
    series = series * y + f32(1.0)
    return series * _of_bits(np.int32((_bits_of(shifted) << np.int32(23)) + np.int32(0x3F800000)))


@_inner
def _exps(x: Any, shift: Any) -> Any:
    """x ← exp(x - shift), where no x is above the shift."""
    for i in range(len(x)):
        x[i] = _exp(max(x[i] - shift, f32(-87.0)))


@_inner
def _scale(x: Any, factor: Any) -> None:
    """x ← factor · x; an array's own operators are slow to compile."""
    for i in range(len(x)):
        x[i] *= factor


@_sums
def _sum(x: Any) -> Any:
    total = f32(0.0)
    for i in range(len(x)):
        total += x[i]
    return total


@_sums
def _squares(x: Any) -> Any:
    total = f32(0.0)
    for i in range(len(x)):
        total += x[i] * x[i]
    return total


@_sums
def _largest(x: Any) -> Any:
    largest = x[0]
    for i in range(len(x)):
        largest = max(largest, x[i])
    return largest


@_inner
def _normalise(x: Any, weight: Any, out: Any, epsilon: Any) -> None:
    """out ← weight · x / √(mean of x² + ε) (RMSNorm, arXiv 1910.07467)."""
    scale = f32(1.0) / np.sqrt(_squares(x) / f32(len(x)) + epsilon)
    for i in range(len(x)):
        out[i] = weight[i] * (x[i] * scale)


@_inner
def _rotate(x: Any, cos: Any, sin: Any, out: Any) -> None:
    """Rotary positions (arXiv 2104.09864), each number of the first half with its like of the second."""
    half = len(x) // 2
    for i in range(half):
        first, second = x[i], x[half + i]
        out[i] = first * cos[i] - second * sin[i]
        out[half + i] = second * cos[half + i] + first * sin[half + i]


@cache
def positions(head_dim: int, normed: bool) -> Kernel:
    """What is done to queries, keys and values before attention, for `TOKENS` tokens a piece: queries and
    keys are normalised (if `normed`) and rotated, queries where they are, keys and values on their way into
    the store.

    Arguments: tokens T, heads, key heads, ε; queries [T, heads · head_dim], keys and values [T, kv_heads ·
    head_dim], cosines and sines [T, head_dim], weights [head_dim] of the norms of queries and of keys, the
    tokens' places in the store [T], int64, and its keys and values [places, kv_heads, head_dim].
    """

    @cfunc(_SIGNATURE, cache=True, error_model="numpy")
    def kernel(data: Any) -> None:
        a = carray(data, 16)
        tokens, heads, kv_heads, epsilon = a[2], a[3], a[4], f32(_double(a[5]))
        q_weight = carray(_floats_at(a[11]), head_dim)
        k_weight = carray(_floats_at(a[12]), head_dim)
        places = carray(_integers_at(a[13]), tokens)
        scratch = np.empty(head_dim, np.float32)
        step = 4 * head_dim
        while True:
            piece = _next(data)
            if piece >= a[1]:
                return
            for t in range(piece * TOKENS, min((piece + 1) * TOKENS, tokens)):
                cos = carray(_floats_at(a[9] + step * t), head_dim)
                sin = carray(_floats_at(a[10] + step * t), head_dim)
                for h in range(heads):
                    x = carray(_floats_at(a[6] + step * (t * heads + h)), head_dim)
                    if normed:
                        _normalise(x, q_weight, scratch, epsilon)
                        _rotate(scratch, cos, sin, x)
                    else:
                        _rotate(x, cos, sin, x)
                for h in range(kv_heads):
                    x = carray(_floats_at(a[7] + step * (t * kv_heads + h)), head_dim)
                    kept = carray(_floats_at(a[14] + step * (places[t] * kv_heads + h)), head_dim)
                    if normed:
                        _normalise(x, k_weight, scratch, epsilon)
                        _rotate(scratch, cos, sin, kept)
                    else:
                        _rotate(x, cos, sin, kept)
                values = carray(_floats_at(a[8] + step * t * kv_heads), kv_heads * head_dim)
                kept = carray(_floats_at(a[15] + step * places[t] * kv_heads), kv_heads * head_dim)
                for i in range(len(values)):
                    kept[i] = values[i]

    return _on_all_threads(kernel)


def _vector(size: Any) -> Any:
    """Of as many numbers as the literal says."""
    return ir.VectorType(ir.FloatType(), size.literal_value)


def _at(builder: Any, address: Any, vector: Any) -> Any:
    return builder.inttoptr(address, vector.as_pointer())


@intrinsic(prefer_literal=True)
def _dot(context: Any, size: Any, a: Any, b: Any) -> Any:
    """a · b of vectors of `size` numbers at addresses, written as vector instructions, since of loops so
    short the compiler makes single ones."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _use_whole_registers(builder)
        vector = _vector(size)
        x, y = (builder.load(_at(builder, address, vector), align=4) for address in arguments[1:])
        kind = ir.FunctionType(ir.FloatType(), (ir.FloatType(), vector))
        name = f"llvm.vector.reduce.fadd.v{vector.count}f32"
        total = cgutils.get_or_insert_function(builder.module, kind, name)
        zero = ir.Constant(ir.FloatType(), 0.0)
        return builder.call(total, (zero, builder.fmul(x, y, flags=_LOOSE)), fastmath=_LOOSE)

    return types.float32(size, types.int64, types.int64), generate


@intrinsic(prefer_literal=True)
def _dots_of_many(context: Any, size: Any, a: Any, b: Any, stride: Any, out: Any) -> Any:
    """out[i] ← a · b[i] for `LANES` vectors b, `stride` bytes apart, of a length that `LANES` divides."""
    vector = ir.VectorType(ir.FloatType(), LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, a, b, stride, out = arguments
        _use_whole_registers(builder)

        def part(address: Any, index: int) -> Any:
            place = builder.add(address, address.type(4 * LANES * index))
            return builder.load(_at(builder, place, vector), align=4)

        def products(index: int) -> Any:
            other = builder.add(b, builder.mul(stride, stride.type(index)))
            total = builder.fmul(part(a, 0), part(other, 0), flags=_LOOSE)
            for i in range(1, size.literal_value // LANES):
                product = builder.fmul(part(a, i), part(other, i), flags=_LOOSE)
                total = builder.fadd(total, product, flags=_LOOSE)
            return total

        sums = _sums_of_lanes(builder, [products(index) for index in range(LANES)])
        builder.store(sums, _at(builder, out, vector), align=4)
        return context.get_dummy_value()

    return types.void(size, *[types.int64] * 4), generate


def _fetch(builder: Any, address: Any) -> None:
    """Begin to load a line of memory, if it is there."""
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), (pointer, _I32, _I32, _I32))
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, often, data = (ir.Constant(_I32, number) for number in (0, 3, 1))
    builder.call(fetch, (builder.inttoptr(address, pointer), read, often, data))


def _sums_of_lanes(builder: Any, vectors: list[Any]) -> Any:
    """The sum of each of `LANES` vectors' lanes, as one vector: halves of two vectors are added to one, and
    again."""
    width = 1
    while len(vectors) > 1:
        low = [(lane if lane % (2 * width) < width else lane + LANES - width) for lane in range(LANES)]
        halves = [
            ir.Constant(ir.VectorType(_I32, LANES), [lane + shift for lane in low]) for shift in (0, width)
        ]
        vectors = [
            builder.fadd(*(builder.shuffle_vector(x, y, half) for half in halves), flags=_LOOSE)
            for x, y in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        width *= 2
    return vectors[0]


def _splat(builder: Any, number: Any, vector: Any) -> Any:
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(_I32, 0))
    lanes = ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, one, lanes)


@intrinsic(prefer_literal=True)
def _add_weighted(context: Any, size: Any, out: Any, weights: Any, x: Any, stride: Any, count: Any) -> Any:
    """out ← out + Σᵢ weights[i] · x[i] of `count` vectors of `size` numbers, `stride` bytes apart. The even
    and the odd ones are summed apart, so that additions wait for each other half as long."""
    number = ir.FloatType()

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(size)
        _, out, weights, x, stride, count = arguments
        whole = count.type
        sums = [
            cgutils.alloca_once_value(builder, builder.load(_at(builder, out, vector), align=4)),
            cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * vector.count)),
        ]

        def add(total: Any, index: Any) -> None:
            place = builder.add(weights, builder.mul(index, whole(4)))
            weight = builder.load(builder.inttoptr(place, number.as_pointer()), align=4)
            row = builder.load(_at(builder, builder.add(x, builder.mul(index, stride)), vector), align=4)
            product = builder.fmul(_splat(builder, weight, vector), row, flags=_LOOSE)
            builder.store(builder.fadd(builder.load(total), product, flags=_LOOSE), total)

        with cgutils.for_range(builder, builder.udiv(count, whole(2))) as loop:
            first = builder.mul(loop.index, whole(2))
            add(sums[0], first)
            add(sums[1], builder.add(first, whole(1)))
        with builder.if_then(builder.trunc(count, ir.IntType(1))):
            add(sums[0], builder.sub(count, whole(1)))
        total = builder.fadd(builder.load(sums[0]), builder.load(sums[1]), flags=_LOOSE)
        builder.store(total, _at(builder, out, vector), align=4)
        return context.get_dummy_value()

    return types.void(size, *[types.int64] * 5), generate


@intrinsic(prefer_literal=True)
def _add_outer(
    context: Any, rows: Any, a: Any, a_row: Any, a_step: Any, b: Any, length: Any, out: Any, factors: Any
) -> Any:
    """out[m] ← factors · out[m] + Σₖ a[m, k] · b[k] for `rows` m; factors, out[m] and b[k] are `QUERIES`
    numbers, one behind the other; rows and steps of a are so many bytes apart. Sums are in the order of k."""
    vector, number = ir.VectorType(ir.FloatType(), LANES), ir.FloatType()
    parts = range(QUERIES // LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, a, a_row, a_step, b, length, out, factors = arguments
        _use_whole_registers(builder)
        whole = length.type

        def lanes(first: Any, row: Any, part: int) -> Any:
            place = builder.add(builder.mul(row, whole(4 * QUERIES)), whole(4 * LANES * part))
            return _at(builder, builder.add(first, place), vector)

        places = [[lanes(out, whole(m), part) for part in parts] for m in range(rows.literal_value)]
        faded = [builder.load(lanes(factors, whole(0), part), align=4) for part in parts]
        sums = [
            [
                cgutils.alloca_once_value(builder, builder.fmul(factor, builder.load(place, align=4)))
                for factor, place in zip(faded, row, strict=True)
            ]
            for row in places
        ]
        with cgutils.for_range(builder, length) as loop:
            others = [builder.load(lanes(b, loop.index, part), align=4) for part in parts]
            step = builder.add(a, builder.mul(loop.index, a_step))
            for m, totals in enumerate(sums):
                place = builder.add(step, builder.mul(a_row, whole(m)))
                one = builder.load(builder.inttoptr(place, number.as_pointer()), align=4)
                factor = _splat(builder, one, vector)
                for total, other in zip(totals, others, strict=True):
                    product = builder.fmul(factor, other, flags=("contract",))
                    builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        for row, totals in zip(places, sums, strict=True):
            for place, total in zip(row, totals, strict=True):
                builder.store(builder.load(total), place, align=4)
        return context.get_dummy_value()

    return types.void(rows, *[types.int64] * 7), generate


def _exp_of_lanes(builder: Any, x: Any) -> Any:
    """As `_exp`, of a vector."""

    def like(number: float) -> Any:
        return ir.Constant(x.type, [number] * x.type.count)

    def add(a: Any, b: Any) -> Any:
        return builder.fadd(a, b, flags=("contract",))

    def times(a: Any, b: Any) -> Any:
        return builder.fmul(a, b, flags=("contract",))

    magic, kind = like(12582912.0), ir.VectorType(_I32, x.type.count)
    shifted = add(times(x, like(1.4426950216293335)), magic)
    n = builder.fsub(shifted, magic)
    y = add(add(x, times(n, like(-0.693359375))), times(n, like(2.12194440e-4)))
    series = like(1 / 5040)
    for coefficient in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0):
        series = add(times(series, y), like(float(f32(coefficient))))
    exponent = builder.shl(builder.bitcast(shifted, kind), ir.Constant(kind, [23] * LANES))
    power = builder.add(exponent, ir.Constant(kind, [0x3F800000] * LANES))
    return times(series, builder.bitcast(power, x.type))


@intrinsic
def _soften(context: Any, scores: Any, count: Any, largest: Any, factors: Any, sums: Any) -> Any:
    """Scores [count, QUERIES] become weights beside the tiles before: exp of what they are above the largest
    so far, by whose growth `factors` tell that earlier weights shrink; their sums are kept. What is not seen,
    `_FEWEST`, weighs 0."""
    vector = ir.VectorType(ir.FloatType(), LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scores, count, largest, factors, sums = arguments
        _use_whole_registers(builder)
        least, nothing = (ir.Constant(vector, [number] * LANES) for number in (-87.0, 0.0))
        unseen = ir.Constant(vector, [-1e38] * LANES)

        def greater(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        for part in range(QUERIES // LANES):

            def at(first: Any, row: Any | None = None, part: int = part) -> Any:
                place = builder.add(first, first.type(4 * LANES * part))
                if row is not None:
                    place = builder.add(place, builder.mul(row, first.type(4 * QUERIES)))
                return _at(builder, place, vector)

            before = builder.load(at(largest), align=4)
            best = cgutils.alloca_once_value(builder, before)
            with cgutils.for_range(builder, count) as loop:
                score = builder.load(at(scores, loop.index), align=4)
                builder.store(greater(builder.load(best), score), best)
            most = builder.load(best)
            builder.store(most, at(largest), align=4)
            factor = _exp_of_lanes(builder, greater(builder.fsub(before, most), least))
            builder.store(factor, at(factors), align=4)
            total = cgutils.alloca_once_value(builder, builder.fmul(factor, builder.load(at(sums), align=4)))
            with cgutils.for_range(builder, count) as loop:
                score = builder.load(at(scores, loop.index), align=4)
                weight = _exp_of_lanes(builder, greater(builder.fsub(score, most), least))
                weight = builder.select(builder.fcmp_ordered("<", score, unseen), nothing, weight)
                builder.store(weight, at(scores, loop.index), align=4)
                builder.store(builder.fadd(builder.load(total), weight), total)
            builder.store(builder.load(total), at(sums), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@cache
def attention(head_dim: int, shared: int) -> Kernel:
    """Attention of single tokens to what their rows hold, one token and one key head a piece, whose keys and
    values are read once for the `shared` heads that share them.

    Arguments: key heads, length of a row of the store, window (0: none), scale; queries and outputs [N,
    kv_heads · shared · head_dim], the tokens' rows and positions [N], int64, keys and values [rows, length,
    kv_heads, head_dim].
    """
    size = shared * head_dim

    @cfunc(_SIGNATURE, cache=True, error_model="numpy")
    def kernel(data: Any) -> None:
        a = carray(data, 12)
        kv_heads, length, window, scale = a[2], a[3], a[4], f32(_double(a[5]))
        tokens = a[1] // kv_heads
        rows = carray(_integers_at(a[8]), tokens)
        positions = carray(_integers_at(a[9]), tokens)
        scores = np.empty((shared, _TILE), np.float32)
        places = scores.ctypes.data
        sums = np.empty(shared, np.float32)
        largest = np.empty(shared, np.float32)
        stride, step = 4 * kv_heads * head_dim, 4 * head_dim
        while True:
            piece = _next(data)
            if piece >= a[1]:
                return
            token, head = piece // kv_heads, piece % kv_heads
            query, out = a[6] + 4 * size * piece, a[7] + 4 * size * piece
            outs = carray(_floats_at(out), (shared, head_dim))
            outs.fill(f32(0.0))
            sums.fill(f32(0.0))
            largest.fill(f32(-3e38))
            end = positions[token] + 1
            begin = max(end - window, 0) if window else 0
            first = stride * (length * rows[token] + begin) + step * head
            for start in range(0, end - begin, _TILE):
                count = min(end - begin - start, _TILE)
                keys, values = a[10] + first + stride * start, a[11] + first + stride * start
                many = count - count % LANES if head_dim % LANES == 0 else 0
                for g in range(shared):
                    one, mine = query + step * g, scores[g, :count]
                    for p in range(0, many, LANES):
                        _dots_of_many(head_dim, one, keys + stride * p, stride, places + 4 * (_TILE * g + p))
                    for p in range(many, count):
                        mine[p] = _dot(head_dim, one, keys + stride * p)
                    _scale(mine, scale)
                    best = max(_largest(mine), largest[g])
                    fade = _exp(max(largest[g] - best, f32(-87.0)))
                    _exps(mine, best)
                    sums[g] = sums[g] * fade + _sum(mine)
                    largest[g] = best
                    _scale(outs[g], fade)
                    _add_weighted(head_dim, out + step * g, places + 4 * _TILE * g, values, stride, count)
            for g in range(shared):
                _scale(outs[g], f32(1.0) / sums[g])

    return _on_all_threads(kernel)


@cache
def attention_of_runs(head_dim: int, shared: int) -> Kernel:
    """Attention of runs of tokens that follow each other in a row, at most `run_length(shared)`, to what the
    row holds. A piece is a run and a key head: scores are kept as [keys, queries] and outputs as [head_dim,
    queries], so that everything is done to vectors of queries, to keys and values where they lie.

    Arguments: key heads, length of a row of the store, window (0: none), scale; queries and outputs [T,
    kv_heads · shared · head_dim], the runs [R, 3], int64 (row of the store, first token, number of tokens),
    the tokens' positions [T], int64, keys and values [rows, length, kv_heads, head_dim].
    """

    @cfunc(_SIGNATURE, cache=True, error_model="numpy")
    def kernel(data: Any) -> None:
        a = carray(data, 12)
        kv_heads, length, window, scale = a[2], a[3], a[4], f32(_double(a[5]))
        runs = carray(_integers_at(a[8]), (a[1] // kv_heads, 3))
        query = np.empty((head_dim, QUERIES), np.float32)
        scores = np.zeros((_TILE, QUERIES), np.float32)
        outs = np.empty((head_dim, QUERIES), np.float32)
        # By query: the sums of weights, the largest scores, what earlier weights shrink by, and nothing.
        state = np.zeros((4, QUERIES), np.float32)
        last = np.empty(QUERIES, np.int64)
        stride, step, line = 4 * kv_heads * head_dim, 4 * head_dim, 4 * QUERIES
        to_query, to_scores, to_outs = query.ctypes.data, scores.ctypes.data, outs.ctypes.data
        to_sums = state.ctypes.data
        to_largest, to_factors, to_zeros = to_sums + line, to_sums + 2 * line, to_sums + 3 * line
        while True:
            piece = _next(data)
            if piece >= a[1]:
                return
            run, head = piece // kv_heads, piece % kv_heads
            row, token, lanes = runs[run, 0], runs[run, 1], runs[run, 2] * shared
            positions = carray(_integers_at(a[9] + 8 * token), runs[run, 2])
            for q in range(QUERIES):
                own = min(q, lanes - 1)
                place = ((token + own // shared) * kv_heads + head) * shared + own % shared
                given = carray(_floats_at(a[6] + step * place), head_dim)
                for d in range(head_dim):
                    query[d, q] = given[d] * scale
                last[q] = positions[own // shared]
            outs.fill(f32(0.0))
            state[0].fill(f32(0.0))
            state[1].fill(f32(-1e30))
            end = last[QUERIES - 1] + 1
            begin = max(last[0] + 1 - window, 0) if window else 0
            # Tiles lie where they lie for every run, so that a token's numbers do not depend on its run.
            for start in range(begin - begin % _TILE, end, _TILE):
                count = min(end - start, _TILE)
                first = stride * (length * row + start) + step * head
                keys, values = a[10] + first, a[11] + first
                p, d = 0, 0
                while p + 8 <= count:
                    at = to_scores + line * p
                    _add_outer(8, keys + stride * p, stride, 4, to_query, head_dim, at, to_zeros)
                    p += 8
                while p < count:
                    at = to_scores + line * p
                    _add_outer(1, keys + stride * p, stride, 4, to_query, head_dim, at, to_zeros)
                    p += 1
                _hide(scores, start, count, last, window)
                _soften(to_scores, count, to_largest, to_factors, to_sums)
                while d + 8 <= head_dim:
                    at = to_outs + line * d
                    _add_outer(8, values + 4 * d, 4, stride, to_scores, count, at, to_factors)
                    d += 8
                while d < head_dim:
                    at = to_outs + line * d
                    _add_outer(1, values + 4 * d, 4, stride, to_scores, count, at, to_factors)
                    d += 1
            for q in range(lanes):
                place = ((token + q // shared) * kv_heads + head) * shared + q % shared
                taken = carray(_floats_at(a[7] + step * place), head_dim)
                for d in range(head_dim):
                    taken[d] = outs[d, q] / state[0, q]

    return _on_all_threads(kernel)


def run_length(shared: int) -> int:
    """The most tokens of a run, whose queries share `QUERIES` lanes."""
    return QUERIES // shared


@_inner
def _hide(scores: Any, start: Any, count: Any, last: Any, window: Any) -> None:
    """`_FEWEST` where a query does not see a position, of `count` from `start` on."""
    for p in range(max(last[0] + 1 - start, 0), count):
        for q in range(QUERIES):
            if start + p > last[q]:
                scores[p, q] = _FEWEST
    if window:
        for p in range(min(last[QUERIES - 1] - window + 1 - start, count)):
            for q in range(QUERIES):
                if start + p <= last[q] - window:
                    scores[p, q] = _FEWEST


def _use_whole_registers(builder: Any) -> None:
    """Left alone, the compiler takes half of one that has 512 bits, for fear of the clock; llvmlite knows no
    way to tell it."""
    set.add(builder.function.attributes, '"prefer-vector-width"="512"')


@intrinsic(prefer_literal=True)
def _dots(context: Any, tokens: Any, x: Any, weight: Any, out: Any, distance: Any, length: Any) -> Any:
    """The dot products of `tokens` vectors with `ROWS` others, both one behind the other: of the addresses of
    both and of the first result, the distance in bytes from one token's results to the next one's, and the
    vectors' length, a multiple of `LANES`."""
    vector, number = ir.VectorType(ir.FloatType(), LANES), ir.FloatType()

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, x, weight, out, distance, length = arguments
        _use_whole_registers(builder)
        size, zeros = builder.mul(length, length.type(4)), ir.Constant(vector, [0.0] * LANES)
        sums = [
            [cgutils.alloca_once_value(builder, zeros) for _ in range(ROWS)]
            for _ in range(tokens.literal_value)
        ]

        def load(first: Any, index: int, offset: Any) -> Any:
            place = builder.add(first, builder.add(offset, builder.mul(size, length.type(index))))
            return builder.load(builder.inttoptr(place, vector.as_pointer()), align=4)

        with cgutils.for_range(builder, builder.udiv(length, length.type(LANES))) as loop:
            offset = builder.mul(loop.index, length.type(4 * LANES))
            weights = [load(weight, row, offset) for row in range(ROWS)]
            for row in range(ROWS, 2 * ROWS):  # those of the next call, while there is something to compute
                ahead = builder.add(offset, builder.mul(size, length.type(row)))
                _fetch(builder, builder.add(weight, ahead))
            for token, totals in enumerate(sums):
                part = load(x, token, offset)
                for total, weights_of_row in zip(totals, weights, strict=True):
                    product = builder.fmul(part, weights_of_row, flags=_LOOSE)
                    builder.store(builder.fadd(builder.load(total), product, flags=_LOOSE), total)
        flat = [builder.load(total) for totals in sums for total in totals]
        filled = flat + [zeros] * (LANES - len(flat))
        found, results = _sums_of_lanes(builder, filled), ir.VectorType(number, ROWS)
        for token in range(len(sums)):
            lanes = ir.Constant(ir.VectorType(_I32, ROWS), [ROWS * token + row for row in range(ROWS)])
            place = builder.add(out, builder.mul(distance, length.type(token)))
            pair = builder.shuffle_vector(found, found, lanes)
            builder.store(pair, _at(builder, place, results), align=4)
        return context.get_dummy_value()

    return types.void(tokens, *[types.int64] * 5), generate


@cache
def products() -> Kernel:
    """out ← x Wᵀ of few tokens, `OUTPUTS` rows of W a piece, each read from memory once. A result does not
    depend on how many tokens there are.

    Arguments: tokens M, inputs K (a multiple of `LANES`), outputs N (a multiple of `ROWS`); x [M, K], W [N,
    K], out [M, N].
    """

    @cfunc(_SIGNATURE, cache=True, error_model="numpy")
    def kernel(data: Any) -> None:
        a = carray(data, 8)
        tokens, inputs, outputs = a[2], a[3], a[4]
        step, distance = 4 * inputs, 4 * outputs
        while True:
            piece = _next(data)
            if piece >= a[1]:
                return
            for n in range(piece * OUTPUTS, min((piece + 1) * OUTPUTS, outputs), ROWS):
                x, weight, out, left = a[5], a[6] + step * n, a[7] + 4 * n, tokens
                while left >= 8:
                    _dots(8, x, weight, out, distance, inputs)
                    x, out, left = x + 8 * step, out + 8 * distance, left - 8
                if left >= 4:
                    _dots(4, x, weight, out, distance, inputs)
                    x, out, left = x + 4 * step, out + 4 * distance, left - 4
                if left >= 2:
                    _dots(2, x, weight, out, distance, inputs)
                    x, out, left = x + 2 * step, out + 2 * distance, left - 2
                if left >= 1:
                    _dots(1, x, weight, out, distance, inputs)

    return _on_all_threads(kernel)


@cache
def add_norm() -> Kernel:
    """hidden ← hidden + added; out ← its norm, for `TOKENS` tokens a piece.

    Arguments: tokens T, width, ε; hidden, added (or 0) and out [T, width], the norm's weight [width].
    """

    @cfunc(_SIGNATURE, cache=True, error_model="numpy")
    def kernel(data: Any) -> None:
        a = carray(data, 9)
        tokens, width, epsilon = a[2], a[3], f32(_double(a[4]))
        weight = carray(_floats_at(a[8]), width)
        while True:
            piece = _next(data)
            if piece >= a[1]:
                return
            for t in range(piece * TOKENS, min((piece + 1) * TOKENS, tokens)):
                hidden = carray(_floats_at(a[5] + 4 * width * t), width)
                added = carray(_floats_at(a[6] + 4 * width * t), width)
                if a[6] != 0:
                    for i in range(width):
                        hidden[i] += added[i]
                _normalise(hidden, weight, carray(_floats_at(a[7] + 4 * width * t), width), epsilon)

    return _on_all_threads(kernel)


@cache
def gate() -> Kernel:
    """gate ← gate · σ(gate) · up (SwiGLU, arXiv 2002.05202), for `TOKENS` tokens a piece.

    Arguments: tokens T, width; gate and up [T, width].
    """

    @cfunc(_SIGNATURE, cache=True, error_model="numpy")
    def kernel(data: Any) -> None:
        a = carray(data, 6)
        while True:
            piece = _next(data)
            if piece >= a[1]:
                return
            begin, end = piece * TOKENS * a[3], min((piece + 1) * TOKENS, a[2]) * a[3]
            gated = carray(_floats_at(a[4] + 4 * begin), end - begin)
            up = carray(_floats_at(a[5] + 4 * begin), end - begin)
            for i in range(len(gated)):
                x = gated[i]
                gated[i] = x / (f32(1.0) + _exp(min(max(-x, f32(-87.0)), f32(87.0)))) * up[i]

    return _on_all_threads(kernel)


def _on_all_threads(function: Any) -> Kernel:
    """A kernel that runs on the threads of torch's own pool, since a second one would fight with the first
    one's spinning for the cores; on the calling thread where torch was built with another kind of pool."""
    serial = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function.address)
    parallel = _parallel()

    def kernel(pieces: int, *arguments: int) -> None:
        data = (ctypes.c_int64 * (2 + len(arguments)))(0, pieces, *arguments)
        threads = min(torch.get_num_threads(), pieces)
        if threads > 1 and parallel is not None:
            parallel(function.address, data, threads, 0)
        else:
            serial(data)

    return kernel


@cache
def _parallel() -> Any:
    """OpenMP's entry, in the library that torch itself uses; None if it has none of that name."""
    try:
        parallel = ctypes.CDLL(torch._C.__file__).GOMP_parallel
    except (AttributeError, OSError):
        return None
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return parallel
