"""Inputs shared by several families."""

from random import Random

_WORDS = """
a an at be by do go he if in is it me no of on or so to up us we ant bee cat dog eel fox hen owl pig ram yak
ball cart door fern gate hill iron jump kite lamp moon nest oven pond quiz rope silk tree unit vine wolf
amber bread chair dance eagle flame grape house ivory jewel knife lemon music night ocean piano queen river
stone tiger uncle voice water zebra basket candle dragon engine falcon garden hammer island jacket kitten
ladder mirror needle orange pepper rabbit saddle teapot valley window blanket chimney
"""
WORDS = _WORDS.split()


def words(rng: Random, least: int, most: int) -> list[str]:
    return [rng.choice(WORDS) for _ in range(rng.randint(least, most))]


def integers(rng: Random, least: int, most: int, low: int, high: int) -> list[int]:
    """Between `least` and `most` integers from `low` to `high`."""
    return [rng.randint(low, high) for _ in range(rng.randint(least, most))]


def letters(rng: Random, least: int, most: int, alphabet: str = "abcdefghijklmnopqrstuvwxyz") -> str:
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(least, most)))


def edges(rng: Random, nodes: int, count: int) -> list[list[int]]:
    """Distinct pairs of distinct nodes."""
    pairs = [[a, b] for a in range(nodes) for b in range(nodes) if a != b]
    return rng.sample(pairs, min(count, len(pairs)))


def grid(rng: Random, rows: tuple[int, int], columns: tuple[int, int], cells: str) -> list[str]:
    """Rows of equal length; characters that occur twice in `cells` are twice as frequent."""
    width = rng.randint(*columns)
    return ["".join(rng.choice(cells) for _ in range(width)) for _ in range(rng.randint(*rows))]
