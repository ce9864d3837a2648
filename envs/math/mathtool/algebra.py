"""Problems about linear algebra and polynomials."""

import math
from fractions import Fraction

import numpy as np

from ludus.envs.math.mathtool.kinds import (
    Kind,
    Problem,
    coefficients,
    integer,
    integers,
    nonzero,
    polynomial,
)

Rows = list[list[int]]


def _matrix(rng: np.random.Generator, rows: int, columns: int, size: int) -> Rows:
    return [integers(rng, -size, size, columns) for _ in range(rows)]


def _multiplied(one: Rows, other: Rows) -> Rows:
    return [[sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*other, strict=True)]
            for row in one]  # fmt: skip


def _eliminated(rows: Rows) -> tuple[int, Fraction]:
    """The rank, and the product of the pivots with the sign of the row swaps (the determinant, at full
    rank)."""
    left = [[Fraction(value) for value in row] for row in rows]
    rank, product = 0, Fraction(1)
    for column in range(len(rows[0])):
        pivot = next((i for i in range(rank, len(left)) if left[i][column]), None)
        if pivot is None:
            continue
        if pivot != rank:
            left[rank], left[pivot], product = left[pivot], left[rank], -product
        top = left[rank]
        product *= top[column]
        for i in range(rank + 1, len(left)):
            factor = left[i][column] / top[column]
            left[i] = [value - factor * above for value, above in zip(left[i], top, strict=True)]
        rank += 1
    return rank, product


def _determinant_of(rows: Rows) -> int:
    rank, product = _eliminated(rows)
    return int(product) if rank == len(rows) else 0


def _invertible(rng: np.random.Generator, size: int, largest: int) -> tuple[Rows, int]:
    """A matrix and its nonzero determinant."""
    while True:
        rows = _matrix(rng, size, size, largest)
        if determinant := _determinant_of(rows):
            return rows, determinant


def _determinant(rng: np.random.Generator) -> Problem:
    size = integer(rng, 4, 5)
    rows, determinant = _invertible(rng, size, 12)
    return Problem({"A": rows}, determinant)


def _rank(rng: np.random.Generator) -> Problem:
    rows, columns, inner = integer(rng, 4, 7), integer(rng, 4, 7), integer(rng, 1, 6)
    matrix = _multiplied(_matrix(rng, rows, inner, 4), _matrix(rng, inner, columns, 4))
    return Problem({"A": matrix}, _eliminated(matrix)[0])


def _system(rng: np.random.Generator) -> Problem:
    size = integer(rng, 3, 4)
    rows, determinant = _invertible(rng, size, 9)
    right = integers(rng, -30, 30, size)
    # Cramer's rule.
    replaced = [
        [[*row[:k], value, *row[k + 1 :]] for row, value in zip(rows, right, strict=True)]
        for k in range(size)
    ]
    return Problem({"A": rows, "b": right}, Fraction(sum(map(_determinant_of, replaced)), determinant))


def _inverse_entry(rng: np.random.Generator) -> Problem:
    size = integer(rng, 3, 4)
    rows, determinant = _invertible(rng, size, 9)
    i, j = integer(rng, 0, size - 1), integer(rng, 0, size - 1)
    # The entry is a cofactor of the transposed matrix.
    minor = [[*row[:i], *row[i + 1 :]] for k, row in enumerate(rows) if k != j]
    answer = Fraction((-1) ** (i + j) * _determinant_of(minor), determinant)
    return Problem({"i": i + 1, "j": j + 1, "A": rows}, answer)


def _eigenvalue(rng: np.random.Generator) -> Problem:
    a, b, c = integer(rng, -40, 40), nonzero(rng, 40), integer(rng, -40, 40)
    answer = f"({a + c} + sqrt({(a - c) ** 2 + 4 * b * b}))/2"
    return Problem({"A": [[a, b], [b, c]]}, answer)


def _matrix_power(rng: np.random.Generator) -> Problem:
    size, n = integer(rng, 2, 3), integer(rng, 9, 20)
    rows = _matrix(rng, size, size, 6)
    power = rows
    for _ in range(n - 1):
        power = _multiplied(power, rows)
    return Problem({"n": n, "A": rows}, sum(power[i][i] for i in range(size)))


def _triangle(rng: np.random.Generator) -> Problem:
    while True:
        p, u, v = integers(rng, -9, 9, 3), integers(rng, -9, 9, 3), integers(rng, -9, 9, 3)
        square = math.prod(sum(w * w for w in side) for side in (u, v))
        square -= sum(a * b for a, b in zip(u, v, strict=True)) ** 2
        if square:
            corners = [[a + b for a, b in zip(p, side, strict=True)] for side in (u, v)]
            return Problem({"P": p, "Q": corners[0], "R": corners[1]}, f"sqrt({square})/2")


def _root_powers(rng: np.random.Generator) -> Problem:
    degree, k = integer(rng, 3, 5), integer(rng, 5, 10)
    terms = [*coefficients(rng, degree - 1, 6), 1]
    terms[0] = terms[0] or 1
    # Newton's identities; sums[i] is the sum of the i-th powers.
    sums = [degree]
    for power in range(1, k + 1):
        total = -sum(terms[degree - i] * sums[power - i] for i in range(1, min(power - 1, degree) + 1))
        sums.append(total - (power * terms[degree - power] if power <= degree else 0))
    return Problem({"k": k, "f": polynomial(terms)}, sums[k])


KINDS = (
    Kind("determinant", "What is the determinant of the matrix {A}?", _determinant, "print(Matrix(A).det())"),
    Kind("rank", "What is the rank of the matrix {A}?", _rank, "print(Matrix(A).rank())"),
    Kind(
        "system",
        "The linear system A*x = b has A = {A} and b = {b}. What is the sum of the unknowns of its solution?",
        _system,
        "print(sum(Matrix(A).LUsolve(Matrix(b))))",
        "fraction",
    ),
    Kind(
        "inverse_entry",
        "What stands in row {i}, column {j} of the inverse of the matrix {A}, counting from 1?",
        _inverse_entry,
        "print(Matrix(A).inv()[i - 1, j - 1])",
        "fraction",
    ),
    Kind(
        "eigenvalue",
        "What is the largest eigenvalue of the matrix {A}?",
        _eigenvalue,
        "print(max(Matrix(A).eigenvals(), key=N))",
        "exact",
    ),
    Kind(
        "matrix_power",
        "What is the trace (the sum of the diagonal) of the power of order {n} of the matrix {A}?",
        _matrix_power,
        "print((Matrix(A)**n).trace())",
    ),
    Kind(
        "triangle",
        "What is the area of the triangle in space with the corners P = {P}, Q = {Q} and R = {R}?",
        _triangle,
        "p, q, r = map(Matrix, (P, Q, R))\nprint((q - p).cross(r - p).norm() / 2)",
        "exact",
    ),
    Kind(
        "root_powers",
        "What is the sum of the powers of order {k} of all complex roots of {f}, each as often as it occurs?",
        _root_powers,
        """terms = Poly(sympify(f), x).all_coeffs()
companion = Matrix(len(terms) - 1, len(terms) - 1, lambda i, j: -terms[j + 1] if i == 0 else int(i == j + 1))
print((companion**k).trace())""",
    ),
)
