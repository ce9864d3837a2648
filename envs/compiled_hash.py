"""BLAKE2b (RFC 7693) inside compiled code: what Python makes of short texts by `hashlib`.

Numba's cache does not notice when a function called from another file changes: after an edit here, delete
what `__pycache__` has of the files that import it (`*.nbi`, `*.nbc`).
"""

import numpy as np

from ludus.tools.compiling import inner

BLOCK = 128
"""Bytes of the longest text."""

_IV = (
    np.uint64(0x6A09E667F3BCC908),
    np.uint64(0xBB67AE8584CAA73B),
    np.uint64(0x3C6EF372FE94F82B),
    np.uint64(0xA54FF53A5F1D36F1),
    np.uint64(0x510E527FADE682D1),
    np.uint64(0x9B05688C2B3E6C1F),
    np.uint64(0x1F83D9ABFB41BD6B),
    np.uint64(0x5BE0CD19137E2179),
)
_SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    np.uint64,
)
"""The order of the words in each round; unsigned, so that no index counts from the end, which takes twice as
long."""
_ROUNDS = 12
_KEYLESS = np.uint64(0x01010000 | 8)
"""The parameters: no key, eight bytes of digest."""
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ZERO, _A, _TEN = ord("0"), ord("a"), np.uint64(10)


@inner
def put_decimal(text: np.ndarray, at: int, number: int) -> int:
    """Write a number ≥ 0 into `text`, uint8, from `at` on, as `str` does; where it ends."""
    # Unsigned and by a constant, a division is a product.
    rest, end = np.uint64(number), at + 1
    while rest >= _TEN:
        rest, end = rest // _TEN, end + 1
    rest = np.uint64(number)
    for place in range(end - 1, at - 1, -1):
        tenth = rest // _TEN
        text[place] = np.uint64(_ZERO) + (rest - tenth * _TEN)
        rest = tenth
    return end


@inner
def put_hex(text: np.ndarray, at: int, number: int) -> int:
    """The same in hexadecimal, as `f"{number:x}"`."""
    end, rest = at + 1, number >> 4
    while rest:
        end, rest = end + 1, rest >> 4
    for place in range(end - 1, at - 1, -1):
        digit = number & 15
        text[place] = _ZERO + digit if digit < 10 else _A + digit - 10
        number >>= 4
    return end


@inner
def put_text(text: np.ndarray, at: int, part: np.ndarray) -> int:
    """Write `part`, uint8 (n,), into `text` from `at` on; where it ends."""
    for place in range(part.size):
        text[at + place] = part[place]
    return at + part.size


@inner
def digest(text: np.ndarray, size: int) -> np.uint64:
    """`hashlib.blake2b(text[:size], digest_size=8)` as a big-endian number; `text` is uint8 (BLOCK,), and
    what is in it from `size` on is lost."""
    for place in range(size, BLOCK):
        text[place] = 0
    words = text.view(np.uint64)
    first = _IV[0] ^ _KEYLESS
    a0, a1, a2, a3 = first, _IV[1], _IV[2], _IV[3]
    b0, b1, b2, b3 = _IV[4], _IV[5], _IV[6], _IV[7]
    c0, c1, c2, c3 = _IV[0], _IV[1], _IV[2], _IV[3]
    d0, d1, d2, d3 = _IV[4] ^ np.uint64(size), _IV[5], _IV[6] ^ _ALL, _IV[7]
    for number in range(_ROUNDS):
        at = _SIGMA[number]
        a0, b0, c0, d0 = _mixed(a0, b0, c0, d0, words[at[0]], words[at[1]])
        a1, b1, c1, d1 = _mixed(a1, b1, c1, d1, words[at[2]], words[at[3]])
        a2, b2, c2, d2 = _mixed(a2, b2, c2, d2, words[at[4]], words[at[5]])
        a3, b3, c3, d3 = _mixed(a3, b3, c3, d3, words[at[6]], words[at[7]])
        a0, b1, c2, d3 = _mixed(a0, b1, c2, d3, words[at[8]], words[at[9]])
        a1, b2, c3, d0 = _mixed(a1, b2, c3, d0, words[at[10]], words[at[11]])
        a2, b3, c0, d1 = _mixed(a2, b3, c0, d1, words[at[12]], words[at[13]])
        a3, b0, c1, d2 = _mixed(a3, b0, c1, d2, words[at[14]], words[at[15]])
    return _reversed(first ^ a0 ^ c0)


@inner
def _mixed(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: np.uint64, y: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    a = a + b + x
    d = _turned(d ^ a, np.uint64(32))
    c = c + d
    b = _turned(b ^ c, np.uint64(24))
    a = a + b + y
    d = _turned(d ^ a, np.uint64(16))
    c = c + d
    b = _turned(b ^ c, np.uint64(63))
    return a, b, c, d


@inner
def _turned(word: np.uint64, bits: np.uint64) -> np.uint64:
    return (word >> bits) | (word << (np.uint64(64) - bits))


@inner
def _reversed(word: np.uint64) -> np.uint64:
    """With its bytes in the other order."""
    turned = np.uint64(0)
    for _ in range(8):
        turned = (turned << np.uint64(8)) | (word & np.uint64(255))
        word >>= np.uint64(8)
    return turned
