"""Figures: unbiased estimators, votes, intervals that cluster by task."""

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.bench.metrics import by_kind, figures
from ludus.agents.bench.prices import Price
from ludus.agents.bench.result import Result
from ludus.agents.pass_at import pass_at_k, pass_hat_k
from ludus.agents.statistics import clustered_share, wilson


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


@given(
    st.lists(st.lists(st.sampled_from([True, False, None]), min_size=3, max_size=3), min_size=1, max_size=6)
)
@settings(max_examples=30)
def test_success_pass_at_1_and_pass_hat_1_are_one_figure(won: list[list[bool | None]]) -> None:
    found = figures(
        result(task, sample, bool(success), **({"stop": "fault:engine"} if success is None else {}))
        for task, samples in enumerate(won)
        for sample, success in enumerate(samples)
    ).to_dict()
    success = {"estimate": found["success"], "bounds": found["success_bounds"]}
    assert found["pass_at"]["1"] == found["pass_hat"]["1"] == success


def test_figures_are_means_over_tasks() -> None:
    results = [result(0, s, success=s < 3) for s in range(4)] + [result(1, s) for s in range(4)]
    found = figures(results)
    assert (found.tasks, found.episodes, found.repeats) == (2, 8, 4)
    assert (
        found.success.value
        == found.pass_at[1].estimate.value
        == found.pass_hat[1].estimate.value
        == pytest.approx(3 / 8)
    )
    assert found.pass_at[4].estimate.value == pytest.approx(1 / 2)
    assert found.pass_at[2].estimate.value == pytest.approx(1 / 2)
    assert found.pass_hat[4].estimate.value == 0
    assert found.pass_hat[2].estimate.value == pytest.approx((3 / 6) / 2)


def test_faults_count_in_nothing_but_are_shown() -> None:
    fault = {"stop": "fault:engine", "fault": "gone", "turns": 9, "completion_tokens": 900}
    found = figures([result(0, 0, True, turns=1), result(0, 1, **fault), result(1, 0, **fault)])
    assert (found.tasks, found.episodes, found.faults) == (1, 3, 2)
    assert found.success.value == found.reward.value == 1
    assert (found.turns, found.completion_tokens) == (1, 0)
    assert found.stops == {"environment:terminated": 1, "fault:engine": 2}


def test_a_task_on_which_something_broke_stays_in_every_share() -> None:
    """The tasks whose repeats were all intact are the easy ones: from them alone, pass^2 would be 1."""
    fault = {"stop": "fault:environment"}
    found = figures([result(0, 0, True), result(0, 1, True), result(1, 0), result(1, 1, **fault)])
    assert found.pass_hat[2].estimate.value == 0.5
    assert found.success.value == 0.5
    assert (found.success_bounds.low, found.success_bounds.high) == (0.5, 0.75)
    assert (found.pass_at[2].bounds.low, found.pass_at[2].bounds.high) == (0.5, 1.0)
    assert (found.pass_hat[2].bounds.low, found.pass_hat[2].bounds.high) == (0.5, 0.5)


def test_a_refusal_of_the_server_is_no_failure_of_the_model() -> None:
    found = figures([result(0, 0, True), result(1, 0, stop="refusal:server", fault="moderated")])
    assert (found.scored, found.refusals, found.faults, found.episodes) == (1, 1, 0, 2)
    assert found.success.value == 1
    assert (found.success_bounds.low, found.success_bounds.high) == (0.5, 1.0)
    assert found.verdicts == {"success": 1, "refused by the server": 1}


_STOPS = ("environment:terminated", "environment:truncated", "limit:tokens", "fault:engine", "refusal:server")


@st.composite
def _results(draw: st.DrawFn) -> list[Result]:
    repeats = draw(st.integers(1, 5))
    tasks = draw(st.integers(1, 5))
    return [
        result(
            task,
            sample,
            success=draw(st.booleans()),
            stop=draw(st.sampled_from(_STOPS)),
            answer=draw(st.sampled_from([None, "1", "2"])),
        )
        for task in range(tasks)
        for sample in range(repeats)
    ]


@settings(max_examples=150)
@given(_results())
def test_every_share_lies_between_its_bounds_and_every_episode_counts_once(results: list[Result]) -> None:
    found = figures(results)
    assert sum(found.verdicts.values()) == sum(found.stops.values()) == found.episodes == len(results)
    assert found.scored + found.faults + found.refusals == found.episodes
    shares = [(found.success, found.success_bounds)]
    shares += [
        (share.estimate, share.bounds) for share in (*found.pass_at.values(), *found.pass_hat.values())
    ]
    for estimate, bounds in shares:
        assert 0 <= bounds.low <= bounds.high <= 1 + 1e-9
        assert not found.scored or bounds.low - 1e-9 <= estimate.value <= bounds.high + 1e-9
        assert found.scored < found.episodes or bounds.low == pytest.approx(bounds.high)
    if found.majority is not None:
        assert found.majority.bounds.low - 1e-9 <= found.majority.bounds.high + 1e-9


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


def test_an_environment_without_answers_has_no_majority() -> None:
    assert figures([result(0, 0, True), result(0, 1)]).majority is None
    accident = [result(0, 0, True), result(0, 1, True), result(1, 0, answer="7"), result(1, 1)]
    assert figures(accident).majority is None, "it succeeds without answers, so none is judged"


def test_a_task_to_which_nobody_gave_an_answer_is_a_failed_vote() -> None:
    right = {"success": True, "answer": "7"}
    found = figures([result(0, 0, **right), result(0, 1, **right), result(1, 0), result(1, 1)])
    assert found.majority is not None
    assert found.majority.estimate.value == 0.5


def test_kinds_of_tasks_have_figures_of_their_own() -> None:
    broken = {"stop": "fault:environment", "key": "", "kind": ""}
    results = [
        result(0, 0, True, kind="room"),
        result(0, 1, **broken),
        result(1, 0, kind="trip"),
        result(2, 0),
    ]
    found = by_kind(results)
    assert {kind: figures.episodes for kind, figures in found.items()} == {"room": 2, "trip": 1, "unknown": 1}
    assert found["room"].success.value == 1
    assert by_kind([result(0), result(1)]) == {}
    assert by_kind([result(0, kind="room"), result(1, kind="room")]) == {}


def test_latency_is_counted_by_turns() -> None:
    found = figures([result(0, turn_seconds=(1.0,) * 50), result(1, turn_seconds=(3.0,) * 50)])
    assert found.turn_seconds == {50: 2.0, 90: 3.0, 99: 3.0}
    assert found.model_seconds == 100


def test_every_episode_costs_money_with_a_score_or_without() -> None:
    used = {"prompt_tokens": 1000, "cached_tokens": 400, "completion_tokens": 100}
    results = [result(0, **used), result(1, stop="fault:engine", **used)]
    price = Price(input=1.0, output=10.0, cached=0.5)
    assert figures(results, price).cost == pytest.approx(2 * (600 + 200 + 1000) / 1e6)
    assert figures(results).cost is None
    assert figures([result(0, cost=0.25), result(1, cost=0.5)]).cost == 0.75, "as the server says"
