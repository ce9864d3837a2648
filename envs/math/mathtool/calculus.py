"""Calculus problems. Every program defines `x` as a symbol."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from ludus.envs.math.mathtool.kinds import Kind, Problem, coefficients, integer, nonzero, polynomial


def _value(terms: Sequence[Fraction | int], x: int) -> Fraction:
    return sum((Fraction(term) * Fraction(x) ** power for power, term in enumerate(terms)), Fraction(0))


def _polynomial_integral(rng: np.random.Generator) -> Problem:
    terms = coefficients(rng, integer(rng, 4, 6), 20)
    low = integer(rng, -5, 3)
    high = low + integer(rng, 1, 6)
    primitive = [Fraction(0), *(Fraction(term, power + 1) for power, term in enumerate(terms))]
    value = _value(primitive, high) - _value(primitive, low)
    return Problem({"f": polynomial(terms), "a": low, "b": high}, value)


def _exponential_integral(rng: np.random.Generator) -> Problem:
    terms, high = coefficients(rng, integer(rng, 1, 3), 9), integer(rng, 1, 4)
    # p - p' + p'' - … times e^x is a primitive of p e^x.
    at_high = at_zero = Fraction(0)
    derivative, sign = terms, 1
    while derivative:
        at_high += sign * _value(derivative, high)
        at_zero += sign * _value(derivative, 0)
        derivative, sign = [power * term for power, term in enumerate(derivative)][1:], -sign
    return Problem({"f": polynomial(terms), "b": high}, f"{at_high}*e^{high} - ({at_zero})")


def _sine_integral(rng: np.random.Generator) -> Problem:
    n, k = integer(rng, 1, 4), integer(rng, 1, 90)
    cosine = (-1) ** k
    # Integrating by parts twice: I(n) = -pi^n cos(k pi)/k - n (n-1)/k^2 I(n-2), and I(0) = (1 - cos(k pi))/k.
    terms: dict[int, Fraction] = {}
    factor, power = Fraction(1), n
    while power >= 1:
        terms[power] = -factor * cosine / k
        factor *= Fraction(-power * (power - 1), k * k)
        power -= 2
    if power == 0:
        terms[0] = terms.get(0, Fraction(0)) + factor * Fraction(1 - cosine, k)
    answer = " + ".join(f"({term})*pi^{exponent}" for exponent, term in terms.items())
    return Problem({"n": n, "k": k}, answer)


def _arctangent_integral(rng: np.random.Generator) -> Problem:
    a, b, c = integer(rng, 1, 9), nonzero(rng, 9), integer(rng, 1, 30)
    answer = f"{Fraction(c, 4 * a)}*pi"
    return Problem({"c": c, "q": polynomial([a * a + b * b, -2 * b, 1]), "a": b, "b": b + a}, answer)


def _decaying_integral(rng: np.random.Generator) -> Problem:
    terms, rate = coefficients(rng, integer(rng, 2, 4), 9), integer(rng, 2, 5)
    value = sum(
        Fraction(term * math.factorial(power), rate ** (power + 1)) for power, term in enumerate(terms)
    )
    return Problem({"f": polynomial(terms), "a": rate}, value)


def _derivative(rng: np.random.Generator) -> Problem:
    terms, rate, k = coefficients(rng, integer(rng, 2, 4), 9), nonzero(rng, 5), integer(rng, 5, 12)
    value = sum(term * math.perm(k, power) * rate ** (k - power) for power, term in enumerate(terms))
    return Problem({"k": k, "f": polynomial(terms), "c": rate}, value)


def _limit(rng: np.random.Generator) -> Problem:
    a, b, c = integer(rng, 2, 12), integer(rng, 13, 25), integer(rng, 2, 9)
    function, value = [
        (f"(cos({a}*x) - cos({b}*x))/({c}*x^2)", Fraction(b * b - a * a, 2 * c)),
        (f"(sin({a}*x) - {a}*x)/({c}*x^3)", Fraction(-(a**3), 6 * c)),
        (f"(exp({a}*x) - 1 - {a}*x)/({c}*x^2)", Fraction(a * a, 2 * c)),
        (f"(log(1 + {b}*x) - {b}*x)/({c}*x^2)", Fraction(-b * b, 2 * c)),
        (f"(tan({a}*x) - sin({a}*x))/({c}*x^3)", Fraction(a**3, 2 * c)),
    ][integer(rng, 0, 4)]
    return Problem({"f": function}, value)


def _exponential_limit(rng: np.random.Generator) -> Problem:
    p, s = integer(rng, 2, 5), integer(rng, 1, 6)
    q = integer(rng, 1, 9)
    r = q + nonzero(rng, 5)
    answer = f"e^({Fraction(s * (q - r), p)})"
    return Problem({"f": f"(({polynomial([q, p])})/({polynomial([r, p])}))^({s}*x)"}, answer)


def _series_coefficient(rng: np.random.Generator) -> Problem:
    top, bottom = coefficients(rng, 2, 9), [1, *coefficients(rng, 1, 4)]
    n = integer(rng, 10, 25)
    found: list[int] = []
    for k in range(n + 1):
        carried = sum(bottom[i] * found[k - i] for i in range(1, min(k, 2) + 1))
        found.append((top[k] if k < 3 else 0) - carried)
    return Problem({"n": n, "f": f"({polynomial(top)})/({polynomial(bottom)})"}, found[n])


KINDS = (
    Kind(
        "polynomial_integral",
        "What is the integral of {f} from x = {a} to x = {b}?",
        _polynomial_integral,
        "F = Poly(f, x).integrate()\nprint(F(b) - F(a))",
        "fraction",
    ),
    Kind(
        "exponential_integral",
        "What is the integral of ({f})*e^x from x = 0 to x = {b}?",
        _exponential_integral,
        "print(integrate(sympify(f) * exp(x), (x, 0, b)))",
        "exact",
    ),
    Kind(
        "sine_integral",
        "What is the integral of x^{n}*sin({k}*x) from x = 0 to x = pi?",
        _sine_integral,
        # The imaginary part of the integral of x^n e^(ikx), integrated by parts.
        """F = sum((-1)**j * diff(x**n, x, j) / (I * k)**(j + 1) for j in range(n + 1))
print(expand(im(expand(F.subs(x, pi) * (-1)**k - F.subs(x, 0)))))""",
        "exact",
    ),
    Kind(
        "arctangent_integral",
        "What is the integral of {c}/({q}) from x = {a} to x = {b}?",
        _arctangent_integral,
        "print(integrate(c / sympify(q), (x, a, b)))",
        "exact",
    ),
    Kind(
        "decaying_integral",
        "What is the integral of ({f})*e^(-{a}*x) from x = 0 to infinity?",
        _decaying_integral,
        "t = Symbol('t')\nprint(laplace_transform(sympify(f), x, t, noconds=True).subs(t, a))",
        "fraction",
    ),
    Kind(
        "derivative",
        "What is the value at x = 0 of the derivative of order {k} of ({f})*e^({c}*x)?",
        _derivative,
        "print(diff(sympify(f) * exp(c * x), x, k).subs(x, 0))",
    ),
    Kind(
        "limit",
        "What is the limit of {f} as x tends to 0?",
        _limit,
        "print(limit(sympify(f), x, 0))",
        "fraction",
    ),
    Kind(
        "exponential_limit",
        "What is the limit of {f} as x tends to infinity?",
        _exponential_limit,
        "base, power = sympify(f).as_base_exp()\nprint(exp(limit(power * (base - 1), x, oo)))",
        "exact",
    ),
    Kind(
        "series_coefficient",
        "What is the coefficient of x^{n} in the power series of {f} around x = 0?",
        _series_coefficient,
        """top, bottom = (Poly(part, x).all_coeffs()[::-1] for part in fraction(sympify(f)))
first = bottom[0]
found = []
for k in range(n + 1):
    known = sum(bottom[i] * found[k - i] for i in range(1, min(k, len(bottom) - 1) + 1))
    found.append(((top[k] if k < len(top) else 0) - known) / first)
print(found[n])""",
    ),
)
