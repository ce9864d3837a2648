"""How far rounding can take a sum or a product from the exact one: bounds that hold whatever the processor.

Sources: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, SIAM 2002; where named,
N. J. Higham and T. Mary, A New Approach to Probabilistic Rounding Error Analysis, SISC 41, 2019.
"""

import math

import torch
from torch import Tensor


def unit_roundoff(dtype: torch.dtype = torch.float32) -> float:
    """u, the largest relative error of one rounding (section 2.1)."""
    return torch.finfo(dtype).eps / 2


def gamma(operations: int, dtype: torch.dtype = torch.float32) -> float:
    """γ_n = n u / (1 - n u): the largest relative error of n roundings on top of each other (lemma 3.1).

    A computed sum of n products x·y is off by at most γ_n Σ|x||y|, in whatever order it was added
    (equation 3.5), and so is each element of a matrix product with inner dimension n (equation 3.13)."""
    total = operations * unit_roundoff(dtype)
    assert total < 1
    return total / (1 - total)


def likely_gamma(operations: int, dtype: torch.dtype = torch.float32) -> float:
    """γ̃_n(λ) = exp(λ √n u + n u² / (1 - u)) - 1 for λ = 8: roundings as independent as they usually are stay
    below it, but with a probability of 2 exp(-λ² (1 - u)² / 2) < 3e-14 each (Higham and Mary, theorem 2.4).

    √n times smaller than `gamma` for long sums, so that a bound on them still finds a fault."""
    u = unit_roundoff(dtype)
    return min(
        gamma(operations, dtype), math.expm1(8 * math.sqrt(operations) * u + operations * u**2 / (1 - u))
    )


def product_error(a: Tensor, b: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The largest error of each element of a b, [M, N], if it is computed in `dtype`: γ_K |a||b|.

    a [M, K], b [K, N]."""
    return gamma(a.shape[1], dtype) * (a.double().abs() @ b.double().abs())


def longest_chain(terms: int, block: int) -> int:
    """How many roundings a term can see in a sum over blocks whose sums are added to each other: the n of
    γ_n (section 3.1)."""
    return min(terms, block) + -(-terms // block)
