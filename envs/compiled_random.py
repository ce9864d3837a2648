"""Random numbers inside compiled code: one 64-bit word of state that the caller holds.

A word is an int64, so that it lies in ordinary state arrays; the arithmetic is unsigned. Numba's cache does
not notice when a function called from another file changes: after an edit here, touch the files that import
it.
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
