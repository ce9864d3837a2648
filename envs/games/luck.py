"""Chance as a pure function: where a game draws and what comes of it follow from a seed and a place."""

from collections.abc import Sequence
from hashlib import blake2b


def uniform(*place: int) -> float:
    """A number in [0, 1) for a place, the same in every process; other places have independent ones."""
    digest = blake2b(",".join(map(str, place)).encode(), digest_size=8).digest()
    # A double's 53 bits.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def pick(probabilities: Sequence[float], number: float) -> int:
    """The index on which a uniform number falls, where each index is as long as its probability."""
    last = 0
    for index, probability in enumerate(probabilities):
        if probability > 0:
            last = index
            if number < probability:
                return index
            number -= probability
    # The sum may fall short of 1 by rounding.
    return last
