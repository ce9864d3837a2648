"""Figures: unbiased estimators, votes, intervals that cluster by task."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.agents.bench.metrics import clustered_share, figures, majority_success, pass_at_k, pass_hat_k
from ludus.agents.bench.result import Result
from ludus.agents.evaluate import wilson


def result(task: int, sample: int = 0, success: bool = False, **changes: object) -> Result:
    fields = {"key": str(task), "reward": float(success), "stop": "environment:terminated", **changes}
    return Result(task=task, sample=sample, success=success, **fields)


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_k_and_pass_hat_k_average_over_all_draws_of_k_samples(
    won: list[bool], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(won)))
    draws = list(itertools.combinations(won, k))
    n, c = len(won), sum(won)
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    assert pass_hat_k(n, c, k) == pytest.approx(sum(map(all, draws)) / len(draws))


def test_figures_are_means_over_tasks() -> None:
    results = [result(0, s, success=s < 3) for s in range(4)] + [result(1, s) for s in range(4)]
    found = figures(results)
    assert (found.tasks, found.episodes, found.repeats) == (2, 8, 4)
    assert found.success.value == found.pass_at[1].value == found.pass_hat[1].value == pytest.approx(3 / 8)
    assert found.pass_at[4].value == pytest.approx(1 / 2)
    assert found.pass_at[2].value == pytest.approx(1 / 2)
    assert found.pass_hat[4].value == 0
    assert found.pass_hat[2].value == pytest.approx((3 / 6) / 2)


def test_faults_count_in_nothing_but_are_shown() -> None:
    fault = {"stop": "fault:engine", "fault": "gone", "turns": 9, "completion_tokens": 900}
    found = figures([result(0, 0, True, turns=1), result(0, 1, **fault), result(1, 0, **fault)])
    assert (found.tasks, found.episodes, found.faults) == (1, 3, 2)
    assert found.success.value == found.reward.value == 1
    assert (found.turns, found.completion_tokens) == (1, 0)
    assert found.stops == {"environment:terminated": 1, "fault:engine": 2}


def test_a_task_with_fewer_samples_than_k_is_left_out_of_pass_at_k() -> None:
    fault = {"stop": "fault:environment"}
    found = figures([result(0, 0, True), result(0, 1, True), result(1, 0), result(1, 1, **fault)])
    assert found.pass_hat[2].value == 1
    assert found.success.value == 0.5


def test_nothing_but_faults_gives_no_figures() -> None:
    found = figures([result(0, stop="fault:engine")])
    assert math.isnan(found.success.value)
    assert found.to_dict()["success"] == {"value": None, "low": None, "high": None}


def test_without_repeats_the_interval_is_wilsons() -> None:
    found = figures([result(task, success=task < 7) for task in range(20)])
    assert vars_of(found.success) == pytest.approx(vars_of(wilson(7, 20)))


def vars_of(interval: object) -> list[float]:
    return [getattr(interval, name) for name in ("value", "low", "high")]


def test_repeats_of_one_task_do_not_narrow_the_interval_where_they_always_agree() -> None:
    once = figures([result(task, success=task < 7) for task in range(20)])
    often = figures([result(task, s, success=task < 7) for task in range(20) for s in range(10)])
    assert vars_of(often.success) == pytest.approx(vars_of(once.success))
    assert vars_of(often.reward) == pytest.approx(vars_of(once.reward))


def test_repeats_narrow_the_interval_where_they_are_independent() -> None:
    draw = random.Random(0)
    often = figures([result(t, s, success=draw.random() < 0.5) for t in range(50) for s in range(20)])
    naive = wilson(500, 1000)
    width, narrowest = often.success.high - often.success.low, naive.high - naive.low
    assert narrowest * 0.8 < width < narrowest * 1.4


def test_the_interval_covers_the_truth_when_tasks_differ_in_difficulty() -> None:
    draw = random.Random(1)
    covered = 0
    for _ in range(200):
        chances = [draw.random() for _ in range(40)]
        shares = [sum(draw.random() < chance for _ in range(5)) / 5 for chance in chances]
        interval = clustered_share(shares, 200)
        covered += interval.low <= 0.5 <= interval.high
    assert 180 <= covered <= 200


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_interval_has_a_width_even_where_all_came_out_alike(share: float) -> None:
    interval = clustered_share([share] * 10, 50)
    assert interval.high - interval.low > 0.2


def test_the_majority_wins_the_vote() -> None:
    group = [result(0, 0, True, answer="7"), result(0, 1, True, answer="7"), result(0, 2, answer="8")]
    assert majority_success(group) == 1
    assert majority_success([*group, result(0, 3, answer="8"), result(0, 4, answer="8")]) == 0


def test_tied_answers_share_the_vote_and_no_answer_has_none() -> None:
    group = [result(0, 0, True, answer="7"), result(0, 1, answer="8"), result(0, 2), result(0, 3)]
    assert majority_success(group) == 0.5
    assert majority_success([result(0, 0, True), result(0, 1)]) is None
    assert figures([result(0, 0, True), result(0, 1)]).majority is None
