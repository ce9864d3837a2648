import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.evaluate import fault_share, left_out, summarise
from ludus.agents.statistics import bootstrap_mean, wilson
from ludus.envs.chat import assistant


def episode(
    reward: float, success: bool, stop: StopReason = StopReason.TERMINATED, turns: int = 2
) -> Episode:
    played = [
        Turn(
            [],
            assistant("x"),
            reward / 2,
            {"a": reward},
            (),
            (1, 2, 3),
            (0.0,) * 3,
            finish,
            completion_tokens=3,
        )
        for finish in ("stop", "length")
    ]
    return Episode("e", {}, 0, "t", tuple(played[:turns]), stop, success)


def test_a_summary_counts_faults_apart() -> None:
    good, bad = episode(1.0, True), episode(0.0, False)
    fault = episode(5.0, False, StopReason.ENVIRONMENT_FAULT, turns=1)
    summary = summarise([good, bad, fault])
    assert (summary.episodes, summary.faults) == (3, 1)
    assert summary.mean_return.value == 0.5
    assert summary.success.value == 0.5
    assert summary.reward_terms == {"a": 1.0}
    assert (summary.turns, summary.completion_tokens, summary.cut) == (2, 6, 0.5)
    assert summary.stop_reasons == {"environment:terminated": 2, "fault:environment": 1}


def test_faults_are_told_beside_the_figures_that_leave_them_out() -> None:
    assert (fault_share(0, 512), fault_share(3, 512)) == ("0", "3 (0.6%)")
    assert left_out(0, 512) == ""
    assert left_out(3, 512) == "3 of 512 episodes (0.6%) ended in a fault and count in no figure"
    summary = summarise([episode(1.0, True, StopReason.ENGINE_FAULT)])
    assert summary.left_out == "1 of 1 episode (100.0%) ended in a fault and counts in no figure"


def test_a_summary_of_faults_alone_has_no_figures_and_says_so() -> None:
    plain = summarise([episode(1.0, True, StopReason.ENGINE_FAULT)]).to_dict()
    assert (plain["episodes"], plain["faults"]) == (1, 1)
    assert plain["success"] == {"value": None, "low": None, "high": None}
    assert plain["turns"] is None
    assert "NaN" not in json.dumps(plain)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Computed by hand from Wilson's formula with z = 1.959964; also in R. G. Newcombe, Stat. Med. 17 (1998),
    # table I.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    interval = wilson(successes, trials)
    assert interval.value == successes / trials
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(st.integers(1, 2000), st.data())
def test_wilson_holds_the_share_within_the_unit_interval(trials: int, data: st.DataObject) -> None:
    interval = wilson(data.draw(st.integers(0, trials)), trials)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low < interval.high


def test_the_bootstrap_is_repeatable_and_close_to_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400).tolist()
    interval = bootstrap_mean(values)
    half = 1.96 * np.std(values) / math.sqrt(400)
    assert interval == bootstrap_mean(values)
    assert interval.value == pytest.approx(np.mean(values))
    assert interval.low == pytest.approx(interval.value - half, abs=0.02)
    assert interval.high == pytest.approx(interval.value + half, abs=0.02)


def test_the_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    intervals = [bootstrap_mean(rng.exponential(1.0, size=60).tolist()) for _ in range(200)]
    assert 0.88 <= np.mean([interval.low <= 1.0 <= interval.high for interval in intervals]) <= 0.99


def test_values_that_do_not_vary_have_an_interval_of_no_width() -> None:
    assert bootstrap_mean([0.25] * 8) == bootstrap_mean([0.25])
    interval = bootstrap_mean([0.25] * 8)
    assert (interval.low, interval.high) == (0.25, 0.25)
