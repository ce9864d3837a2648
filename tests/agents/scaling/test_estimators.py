"""Estimates from subsets: against all subsets, and against what samples of known chances give."""

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.answers import Vote, majority
from ludus.agents.pass_at import pass_at_k
from ludus.agents.scaling.estimators import best_of, majority_of

_ROUNDING = 1e-13
"""Sums of at most a few hundred products of numbers up to 1."""

_VOTES = st.lists(
    st.tuples(st.sampled_from(["ant", "bee", "cow", "dog", None]), st.booleans()).map(lambda one: Vote(*one)),
    min_size=1,
    max_size=7,
)


@settings(max_examples=60)
@given(_VOTES)
def test_majority_is_the_mean_over_all_subsets(votes: list[Vote]) -> None:
    shares = majority_of(votes)
    for k in range(1, len(votes) + 1):
        subsets = [majority(subset)[0] for subset in combinations(votes, k)]
        # Voters of an answer may differ in success; over the subsets of one size they count alike.
        assert shares[k - 1] == pytest.approx(np.mean(subsets), abs=_ROUNDING)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.booleans()), min_size=1, max_size=7))
def test_best_of_is_the_mean_over_all_subsets(samples: list[tuple[float, bool]]) -> None:
    def best(subset: tuple[tuple[float, bool], ...]) -> float:
        top = max(score for score, _ in subset)
        return float(np.mean([won for score, won in subset if score == top]))

    shares = best_of(*zip(*samples, strict=True))
    for k in range(1, len(samples) + 1):
        assert shares[k - 1] == pytest.approx(np.mean([*map(best, combinations(samples, k))]), abs=_ROUNDING)


@pytest.mark.parametrize("chance", [0.2, 0.7])
def test_the_best_of_k_by_success_is_unbiased(chance: float) -> None:
    """Over all outcomes of 9 samples, the estimate is 1 − (1 − p)^k on average; each is pass@k."""
    n, expected = 9, np.zeros(9)
    for won in range(n + 1):
        samples = [True] * won + [False] * (n - won)
        shares = best_of([*map(float, samples)], samples)
        assert shares == pytest.approx([pass_at_k(n, won, k) for k in range(1, n + 1)], abs=_ROUNDING)
        expected += comb(n, won) * chance**won * (1 - chance) ** (n - won) * shares
    assert expected == pytest.approx([1 - (1 - chance) ** k for k in range(1, n + 1)], abs=_ROUNDING)


def test_the_majority_of_k_is_unbiased() -> None:
    """Right with 0.5, wrong in two ways with 0.3 and 0.2: over all outcomes of 5 samples, the estimate for k
    is on average what k samples give."""
    chances = {"ant": 0.5, "bee": 0.3, "cow": 0.2}

    def expected(n: int, k: int) -> float:
        total = 0.0
        for answers in product(chances, repeat=n):
            votes = [Vote(answer, answer == "ant") for answer in answers]
            total += float(np.prod([chances[answer] for answer in answers])) * majority_of(votes)[k - 1]
        return total

    for k in (1, 2, 3):
        assert expected(5, k) == pytest.approx(expected(k, k), abs=1e-12)


def test_a_large_pool_keeps_its_digits() -> None:
    """128 samples of 40 answers: shares stay shares, and all samples together vote as they do at once."""
    rng = np.random.default_rng(0)
    votes = [Vote(f"word{'x' * int(rng.geometric(0.15))}", False) for _ in range(128)]
    votes = [Vote(vote.answer, vote.answer == "wordx") for vote in votes]
    shares = majority_of(votes)
    assert ((shares > -_ROUNDING) & (shares < 1 + _ROUNDING)).all()
    assert shares[-1] == pytest.approx(majority(votes)[0], abs=_ROUNDING)
    assert shares[0] == pytest.approx(np.mean([vote.success for vote in votes]), abs=_ROUNDING)
