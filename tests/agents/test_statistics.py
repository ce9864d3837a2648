"""Intervals and paired tests: known values, coverage, and nothing made of rounding."""

import time

import numpy as np
import pytest

from ludus.agents.statistics import bootstrap_mean, clustered_share, holm, holm_levels, sign_flip_p


def test_pairs_that_all_tie_differ_by_exactly_zero() -> None:
    interval = bootstrap_mean([1 / 3 - (1 - 2 / 3)] * 50)
    assert (interval.value, interval.low, interval.high) == (0.0, 0.0, 0.0)
    assert not interval.excludes_zero
    assert sign_flip_p([0.0] * 50) == 1.0
    assert sign_flip_p([1 / 3 - (1 - 2 / 3)] * 50) == 1.0


def test_an_end_at_zero_is_zero_whatever_rounding_leaves_of_it() -> None:
    thirds = [1 / 3, -1 / 3, 1 / 3 - (1 - 2 / 3)]
    for seed in range(20):
        values = np.random.default_rng(seed).choice(thirds, size=30).tolist()
        interval = bootstrap_mean(values)
        assert all(end == 0 or abs(end) > 1e-9 for end in (interval.value, interval.low, interval.high))


def test_ten_thousand_resamples_of_five_thousand_values_take_no_time() -> None:
    values = np.random.default_rng(0).random(5_000).tolist()
    began = time.process_time()
    interval = bootstrap_mean(values)
    assert time.process_time() - began < 5
    assert interval.low < interval.value < interval.high


def test_a_wider_level_gives_a_wider_interval() -> None:
    values = np.random.default_rng(0).random(80).tolist()
    narrow, wide = bootstrap_mean(values), bootstrap_mean(values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_changes_of_sign_give_the_exact_p_value_of_few_pairs() -> None:
    # All eight sums of ±1 ±1 ±1 are alike likely, and two are as far from zero as 3.
    assert sign_flip_p([1.0, 1.0, 1.0]) == pytest.approx(2 / 8, abs=0.02)
    assert sign_flip_p([1.0] * 3 + [0.0] * 90) == pytest.approx(2 / 8, abs=0.02)
    assert sign_flip_p([1.0] * 40) < 0.001


def test_the_test_errs_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    wrong = sum(sign_flip_p(rng.normal(size=20).tolist()) <= 0.05 for _ in range(100))
    assert wrong <= 11


def test_holm_gives_the_textbook_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm_levels([0.04, 0.01]) == pytest.approx([0.95, 0.975])


def test_shares_that_differ_by_rounding_alone_are_alike() -> None:
    interval = clustered_share([1.0, 1.0 - 1e-16 * 3], 2)
    assert interval.value == pytest.approx(1.0)
    assert 0 < interval.low < interval.high <= 1
