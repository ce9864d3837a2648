"""Problems about whole numbers too large for mental arithmetic."""

import math

import numpy as np
import sympy

from ludus.envs.math.mathtool.kinds import Kind, Problem, chosen, digits, integer

_PRIMES = [int(prime) for prime in sympy.primerange(2, 1_000)]


def _product(rng: np.random.Generator) -> Problem:
    a, b = digits(rng, integer(rng, 16, 24)), digits(rng, integer(rng, 12, 20))
    return Problem({"a": a, "b": b}, a * b)


def _modular_power(rng: np.random.Generator) -> Problem:
    a, b, m = digits(rng, 6), digits(rng, integer(rng, 12, 18)), digits(rng, integer(rng, 6, 9))
    return Problem({"a": a, "b": b, "m": m}, pow(a, b, m))


def _modular_inverse(rng: np.random.Generator) -> Problem:
    m = int(sympy.nextprime(digits(rng, integer(rng, 6, 8))))
    a = integer(rng, 1_000, m - 1)
    return Problem({"a": a, "m": m}, pow(a, -1, m))


def _remainders(rng: np.random.Generator) -> Problem:
    moduli = chosen(rng, _PRIMES[4:60], 4)
    value = digits(rng, 12) % math.prod(moduli)
    return Problem({"r": [value % m for m in moduli], "m": moduli}, value)


def _common_divisor(rng: np.random.Generator) -> Problem:
    shared = digits(rng, 6)
    a, b = shared * digits(rng, 8), shared * digits(rng, 8)
    return Problem({"a": a, "b": b}, math.gcd(a, b))


def _composite(rng: np.random.Generator) -> tuple[int, dict[int, int]]:
    """A number and its prime factors with their exponents."""
    factors = {prime: integer(rng, 1, 3) for prime in chosen(rng, _PRIMES[:12], 2)}
    factors |= dict.fromkeys(chosen(rng, _PRIMES[12:], 2), 1)
    return math.prod(prime**exponent for prime, exponent in factors.items()), factors


def _totient(rng: np.random.Generator) -> Problem:
    n, factors = _composite(rng)
    return Problem({"n": n}, math.prod((p - 1) * p ** (k - 1) for p, k in factors.items()))


def _divisors(rng: np.random.Generator) -> Problem:
    n, factors = _composite(rng)
    return Problem({"n": n}, math.prod((p ** (k + 1) - 1) // (p - 1) for p, k in factors.items()))


def _largest_prime(rng: np.random.Generator) -> Problem:
    primes = [int(sympy.nextprime(digits(rng, size))) for size in (3, 4, 4)]
    return Problem({"n": math.prod(primes)}, max(primes))


def _digit_sum(rng: np.random.Generator) -> Problem:
    n = integer(rng, 30, 900)
    return Problem({"n": n}, sum(map(int, str(math.factorial(n)))))


def _power_sum(rng: np.random.Generator) -> Problem:
    n, p = integer(rng, 200, 900), integer(rng, 3, 6)
    return Problem({"p": p, "n": n}, sum(k**p for k in range(1, n + 1)))


KINDS = (
    Kind("product", "What is {a} times {b}?", _product, "print(a * b)"),
    Kind(
        "modular_power",
        "What is the remainder when {a}^{b} is divided by {m}?",
        _modular_power,
        "print(pow(a, b, m))",
    ),
    Kind(
        "modular_inverse",
        "What is the smallest positive integer x for which {a}*x leaves the remainder 1 when divided by {m}?",
        _modular_inverse,
        "print(pow(a, m - 2, m))",
    ),
    Kind(
        "remainders",
        "What is the smallest non-negative integer that leaves the remainders {r} when divided by {m}, in "
        "this order?",
        _remainders,
        "from sympy.ntheory.modular import crt\nprint(crt(m, r)[0])",
    ),
    Kind(
        "common_divisor",
        "What is the greatest common divisor of {a} and {b}?",
        _common_divisor,
        "print(igcd(a, b))",
    ),
    Kind(
        "totient",
        "How many of the integers from 1 to {n} share no factor above 1 with that last number?",
        _totient,
        "print(totient(n))",
    ),
    Kind(
        "divisors",
        "What is the sum of all positive divisors of {n}, 1 and the number itself included?",
        _divisors,
        "print(divisor_sigma(n))",
    ),
    Kind(
        "largest_prime",
        "What is the largest prime factor of {n}?",
        _largest_prime,
        "print(max(factorint(n)))",
    ),
    Kind(
        "digit_sum",
        "What is the sum of the decimal digits of {n}! (the factorial)?",
        _digit_sum,
        "print(sum(map(int, str(factorial(n)))))",
    ),
    Kind(
        "power_sum",
        "What is the sum of k^{p} over all integers k from 1 to {n}?",
        _power_sum,
        "k = Symbol('k')\nprint(summation(k**p, (k, 1, n)))",
    ),
)
