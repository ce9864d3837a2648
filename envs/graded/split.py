"""Which items are held out, by content; and what is nearly the same on both sides."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from hashlib import blake2b

SHINGLE = 3
"""Words and signs in a row that are compared as one."""
NEAR = 0.7
"""From this share of common shingles on, of all that two texts have (Jaccard), they are near-duplicates."""


def held_out_of(texts: Sequence[str], share: float) -> list[str]:
    """The texts that are held out: those whose hash is within the share. So neither the order of a file nor
    what else is in it changes the side of an item; but if there is a share, at least one is held out, and
    never all."""
    if not share or len(texts) < 2:
        return []
    ranked = sorted(texts, key=_hash)
    return [text for text in ranked[:-1] if _hash(text) < share * 2**64] or ranked[:1]


def near_duplicates(texts: Sequence[str], others: Sequence[str]) -> Iterator[tuple[int, int, float]]:
    """For each text that has one, the most similar of the others: both indices and their Jaccard similarity,
    `NEAR` or more.

    Exact: if at least a share J of n shingles is common, then so is one of any ⌊(1 − J) n⌋ + 1; the rarest
    are looked up (Chaudhuri, Ganti & Kaushik, A primitive operator for similarity joins, 2006).
    """
    sets = [_shingles(text) for text in others]
    where: defaultdict[str, list[int]] = defaultdict(list)
    for index, shingles in enumerate(sets):
        for shingle in shingles:
            where[shingle].append(index)
    for index, text in enumerate(texts):
        own = _shingles(text)
        rarest = sorted(own, key=lambda shingle: (len(where.get(shingle, ())), shingle))
        looked_up = rarest[: math.floor((1 - NEAR) * len(own)) + 1]
        candidates = Counter(other for shingle in looked_up for other in where.get(shingle, ()))
        best = max(((_jaccard(own, sets[other]), -other) for other in candidates), default=(0.0, 0))
        if best[0] >= NEAR:
            yield index, -best[1], best[0]


def _hash(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _shingles(text: str) -> frozenset[str]:
    words = re.findall(r"\w+|[^\w\s]", text.casefold())
    return frozenset(
        " ".join(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1))
    )


def _jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right)
