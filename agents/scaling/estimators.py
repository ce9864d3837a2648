"""What k samples achieve, estimated without bias from n of them: the mean over all subsets of k, in closed
form.

A mean over all subsets is a U-statistic, and has the least variance of all unbiased estimates from the same
samples (W. Hoeffding, "A class of statistics with asymptotically normal distribution", Annals of Mathematical
Statistics 19, 1948). pass@k is the same for success itself (`ludus.agents.pass_at`).
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TypeAlias

import numpy as np

from ludus.agents.answers import Vote, voters_by_answer
from ludus.agents.statistics import mean

Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def best_of(scores: Sequence[float], successes: Sequence[bool]) -> Floats:
    """How often the sample with the highest score among k succeeds, for k = 1 to n, [n].

    In ascending order of the scores, the best of a subset of k is the i-th sample in C(i−1, k−1) of the C(n,
    k) subsets (J. Hilton and L. Gao, "Measuring Goodhart's law", 2022). Samples with the same score share
    their subsets, as if one of the best were drawn by lot.
    """
    n = len(scores)
    ranked = sorted(zip(scores, successes, strict=True))
    shares_N = np.zeros(n)
    below = 0
    for _, alike in groupby(ranked, key=lambda one: one[0]):
        won = [success for _, success in alike]
        upto = below + len(won)
        for k in range(1, n + 1):
            subsets = math.comb(upto, k) - math.comb(below, k)
            shares_N[k - 1] += mean(won) * (subsets / math.comb(n, k))
        below = upto
    return shares_N


def majority_of(votes: Sequence[Vote]) -> Floats:
    """How often the most common answer of k samples succeeds, for k = 1 to n, [n]: the mean of `majority`
    over all subsets of k, with the answers of all n told apart once.

    Let answer a have s of the votes. It leads a subset with m votes, together with j others, in as many ways
    as C(s, m) times the coefficient of x^(k−m) y^j in

        (1 + x)^silent · Π_{b ≠ a} (Σ_{i<m} C(s_b, i) x^i + y C(s_b, m) x^m),

    and wins 1 of j + 1 times. Since ∫ y^j dy = 1 / (j + 1) from 0 to 1, the sum over j is an integral of that
    polynomial in y, which Gauss and Legendre's nodes give exactly.
    """
    n = len(votes)
    groups = voters_by_answer(votes)
    sizes = Counter(map(len, groups))
    silent = n - sum(map(len, groups))
    nodes_Q, weights_Q = np.polynomial.legendre.leggauss(len(groups) // 2 + 1)
    y_Q, weights_Q = (nodes_Q + 1) / 2, weights_Q / 2
    shares_N = np.zeros(n)
    for size in sizes:
        ways_N = np.zeros(n + 1)
        for m in range(1, size + 1):
            ways_QN: Floats = np.zeros((len(y_Q), n + 1))
            ways_QN[:, 0] = 1.0
            for other, count in (sizes - Counter([size])).items():
                factor_QI = np.array(
                    [[math.comb(other, i) for i in range(min(other, m) + 1)]] * len(y_Q), float
                )
                if other >= m:
                    factor_QI[:, m] *= y_Q
                for _ in range(count):
                    ways_QN = _product(ways_QN, factor_QI)
            quiet_QI = np.array([[math.comb(silent, i) for i in range(silent + 1)]], float)
            ways_QN = _product(ways_QN, quiet_QI)
            ways_N[m:] += math.comb(size, m) * (weights_Q @ ways_QN)[: n + 1 - m]
        leads_N = np.array([ways_N[k] / math.comb(n, k) for k in range(1, n + 1)])
        shares_N += leads_N * sum(mean(won) for won in groups if len(won) == size)
    return shares_N


def _product(polynomial_QN: Floats, factor_QI: Floats) -> Floats:
    """Of polynomials given by their coefficients, up to the degree of the first."""
    degrees = polynomial_QN.shape[1]
    result_QN = np.zeros_like(polynomial_QN)
    for i in range(min(factor_QI.shape[1], degrees)):
        result_QN[:, i:] += factor_QI[:, i : i + 1] * polynomial_QN[:, : degrees - i]
    return result_QN
