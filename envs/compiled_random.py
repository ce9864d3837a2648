"""Random numbers inside compiled code: one 64-bit word of state that the caller holds, or numpy's PCG64.

A word is an int64, so that it lies in ordinary state arrays; the arithmetic is unsigned. Numba's cache does
not notice when a function called from another file changes: after an edit here, delete what `__pycache__` has
of the files that import it (`*.nbi`, `*.nbc`).
"""

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)


@njit(inline="always")
def mixed(word: np.int64) -> np.int64:
    """The next word of a SplitMix64 stream (Steele et al. 2014), never 0."""
    z = np.uint64(word) + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_A
    z = (z ^ (z >> np.uint64(27))) * _MIX_B
    z = z ^ (z >> np.uint64(31))
    return np.int64(z | np.uint64(1))


@njit(inline="always")
def advanced(word: np.int64) -> np.int64:
    """One step of xorshift64 (Marsaglia 2003). `word` must not be 0."""
    x = np.uint64(word)
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    return np.int64(x)


@njit(inline="always")
def below(word: np.int64, n: int) -> np.int64:
    """A number in [0, n) from the word's upper half, for small n."""
    return np.int64(((np.uint64(word) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


PCG64_SIZE = 6
"""Words of a PCG64, uint64: state and increment, the upper half first, whether half of a word is left, and
that half."""
_PCG64_HIGH = np.uint64(0x2360ED051FC65DA4)
_PCG64_LOW = np.uint64(0x4385DF649FCCF645)
_HALF = np.uint64(0xFFFFFFFF)


@njit
def pcg64(stream: np.ndarray) -> np.uint64:
    """The next 64 bits of a PCG64 (O'Neill 2014), uint64 (PCG64_SIZE,), as of `numpy.random.PCG64`."""
    high, low = stream[0], stream[1]
    product = low * _PCG64_LOW
    stream[1] = product + stream[3]
    carry = np.uint64(stream[1] < product)
    stream[0] = _upper(low, _PCG64_LOW) + high * _PCG64_LOW + low * _PCG64_HIGH + stream[2] + carry
    word, turn = stream[0] ^ stream[1], stream[0] >> np.uint64(58)
    return (word >> turn) | (word << ((np.uint64(64) - turn) & np.uint64(63)))


@njit
def pcg64_half(stream: np.ndarray) -> np.uint64:
    """The next 32 bits: the lower half of a word, then its upper half."""
    if stream[4]:
        stream[4] = 0
        return stream[5]
    word = pcg64(stream)
    stream[4], stream[5] = 1, word >> np.uint64(32)
    return word & _HALF


@njit
def _upper(a: np.uint64, b: np.uint64) -> np.uint64:
    """The upper 64 bits of a product."""
    half = np.uint64(32)
    middle = (a >> half) * (b & _HALF) + (((a & _HALF) * (b & _HALF)) >> half)
    other = (a & _HALF) * (b >> half) + (middle & _HALF)
    return (a >> half) * (b >> half) + (middle >> half) + (other >> half)
