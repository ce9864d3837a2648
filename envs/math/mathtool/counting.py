"""Counting problems."""

import itertools
import math
from collections import Counter

import numpy as np

from ludus.envs.math.mathtool.kinds import Kind, Problem, chosen, integer, integers, nonzero


def _lattice_paths(rng: np.random.Generator) -> Problem:
    c, d = integer(rng, 8, 18), integer(rng, 8, 18)
    a, b = integer(rng, 2, c - 2), integer(rng, 2, d - 2)
    through = math.comb(a + b, a) * math.comb(c - a + d - b, c - a)
    return Problem({"c": c, "d": d, "a": a, "b": b}, math.comb(c + d, c) - through)


def _coins(rng: np.random.Generator) -> Problem:
    coins = [1, *chosen(rng, [*range(2, 30)], 4)]
    amount = integer(rng, 60, 300)
    ways = [1] + [0] * amount
    for coin in coins:
        for total in range(coin, amount + 1):
            ways[total] += ways[total - coin]
    return Problem({"n": amount, "coins": coins}, ways[amount])


def _binary_strings(rng: np.random.Generator) -> Problem:
    n, k = integer(rng, 20, 90), integer(rng, 2, 8)
    counts = [2**length for length in range(k)]
    while len(counts) <= n:
        counts.append(sum(counts[-k:]))
    return Problem({"n": n, "k": k}, counts[n])


def _fixed_points(rng: np.random.Generator) -> Problem:
    n, k = integer(rng, 9, 60), integer(rng, 0, 6)
    none, fewer = 0, 1
    for size in range(2, n - k + 1):
        none, fewer = (size - 1) * (none + fewer), none
    return Problem({"n": n, "k": k}, math.comb(n, k) * none)


def _surjections(rng: np.random.Generator) -> Problem:
    n, k = integer(rng, 9, 40), integer(rng, 3, 8)
    ways = sum((-1) ** left * math.comb(k, left) * (k - left) ** n for left in range(k))
    return Problem({"n": n, "k": k}, ways)


def _divisible_by_none(rng: np.random.Generator) -> Problem:
    n, numbers = integer(rng, 10**6, 10**9), chosen(rng, [*range(2, 40)], 4)
    count = sum(
        (-1) ** size * (n // math.lcm(*group))
        for size in range(5)
        for group in itertools.combinations(numbers, size)
    )
    return Problem({"n": n, "numbers": numbers}, count)


def _arrangements(rng: np.random.Generator) -> Problem:
    letters = integers(rng, 0, 4, integer(rng, 11, 18))
    ways = math.factorial(len(letters))
    for count in Counter(letters).values():
        ways //= math.factorial(count)
    return Problem({"word": "".join("ABCDE"[letter] for letter in letters)}, ways)


def _recurrence(rng: np.random.Generator) -> Problem:
    p, q, c, d, n = *integers(rng, 1, 9, 2), nonzero(rng, 5), nonzero(rng, 5), integer(rng, 20, 40)
    before, now = p, q
    for _ in range(n - 1):
        before, now = now, c * now + d * before
    return Problem({"p": p, "q": q, "c": c, "d": d, "n": n}, now)


KINDS = (
    Kind(
        "lattice_paths",
        "A path goes from (0, 0) to ({c}, {d}) in steps of 1 to the right or 1 up. How many such paths do "
        "not pass through the point ({a}, {b})?",
        _lattice_paths,
        """ways = {}
for i in range(c + 1):
    for j in range(d + 1):
        ways[i, j] = 1 if i == j == 0 else ways.get((i - 1, j), 0) + ways.get((i, j - 1), 0)
        if (i, j) == (a, b):
            ways[i, j] = 0
print(ways[c, d])""",
    ),
    Kind(
        "coins",
        "In how many ways can {n} be written as a sum of the numbers {coins}, where each may be used any "
        "number of times and the order does not matter?",
        _coins,
        """import functools
@functools.cache
def ways(left, kinds):
    if left <= 0 or not kinds:
        return int(left == 0)
    return ways(left - coins[kinds - 1], kinds) + ways(left, kinds - 1)
print(ways(n, len(coins)))""",
    ),
    Kind(
        "binary_strings",
        "How many strings of {n} zeros and ones have no run of {k} or more ones in a row?",
        _binary_strings,
        "runs = Matrix(k, k, lambda i, j: int(j == 0 or j == i + 1))\nprint(sum((runs**n).row(0)))",
    ),
    Kind(
        "fixed_points",
        "How many permutations of {n} objects leave exactly {k} of them in place?",
        _fixed_points,
        "print(binomial(n, k) * subfactorial(n - k))",
    ),
    Kind(
        "surjections",
        "In how many ways can {n} different letters be put into {k} different boxes so that no box is empty?",
        _surjections,
        "from sympy.functions.combinatorial.numbers import stirling\nprint(stirling(n, k) * factorial(k))",
    ),
    Kind(
        "divisible_by_none",
        "How many of the integers from 1 to {n} are divisible by none of {numbers}?",
        _divisible_by_none,
        """def count(limit, left):
    if not left:
        return limit
    steps = [number // igcd(number, left[0]) for number in left[1:]]
    return count(limit, left[1:]) - count(limit // left[0], steps)
print(count(n, numbers))""",
    ),
    Kind(
        "arrangements",
        "How many different strings can be made by rearranging all the letters of {word}?",
        _arrangements,
        """ways, left = 1, len(word)
for letter in set(word):
    ways *= binomial(left, word.count(letter))
    left -= word.count(letter)
print(ways)""",
    ),
    Kind(
        "recurrence",
        "A sequence begins with a(0) = {p} and a(1) = {q}, and a(k) = ({c})*a(k-1) + ({d})*a(k-2) for every "
        "k > 1. What is a({n})?",
        _recurrence,
        "print((Matrix([[c, d], [1, 0]])**(n - 1) * Matrix([q, p]))[0])",
    ),
)
