"""Ratings: a published table, an independent algorithm, no order, and what games cannot say."""

import json
import os
import subprocess
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents import ratings as ratings_module
from ludus.agents.ratings import SCALE, RatingError, Ratings, SeedPair, expected_score, rate, score

TEAMS = ("Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore")
BASEBALL = (
    (0, 7, 9, 7, 7, 9, 11),
    (6, 0, 7, 5, 11, 9, 9),
    (4, 6, 0, 7, 7, 8, 12),
    (6, 8, 6, 0, 6, 7, 10),
    (6, 2, 6, 7, 0, 7, 12),
    (4, 4, 5, 6, 6, 0, 6),
    (2, 4, 1, 3, 1, 7, 0),
)
"""Games of the American League in 1987 won by the team of the row against that of the column (A. Agresti,
Categorical Data Analysis, 2nd edition, 2002, table 10.10)."""
PUBLISHED = (1.5814, 1.4364, 1.2945, 1.2476, 1.1077, 0.6839, 0.0)
"""Strengths beside Baltimore's (H. Turner and D. Firth, Journal of Statistical Software 48, 2012)."""


@pytest.fixture
def without_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain maximum of the likelihood: the virtual draw weighs next to nothing."""
    monkeypatch.setattr(ratings_module, "VIRTUAL_PAIRS", 1e-6)


@pytest.mark.usefixtures("without_prior")
def test_strengths_of_baseball_teams_are_those_published() -> None:
    games = [
        SeedPair((winner, loser), seed, 2.0)
        for row, winner in zip(BASEBALL, TEAMS, strict=True)
        for won, loser in zip(row, TEAMS, strict=True)
        for seed in range(won)
    ]
    ratings = rate(games, anchors={"Baltimore": 0.0}, resamples=0)
    found = [ratings[team].elo.value / SCALE for team in TEAMS]
    assert found == pytest.approx(PUBLISHED, abs=6e-5)
    assert [player.name for player in ratings] == list(TEAMS)
    assert ratings.determined


OPEN_SPIEL = """
import json, sys
import pyspiel
won, drawn = json.loads(sys.argv[1])
options = pyspiel.elo.default_elo_options()
options.smoothing_factor, options.max_iterations, options.convergence_delta = 0.0, 100_000, 1e-13
print(json.dumps(pyspiel.elo.compute_ratings_from_matrices(won, drawn, options)))
"""


@pytest.mark.usefixtures("without_prior")
def test_open_spiel_finds_the_same_ratings_draws_included() -> None:
    programs = os.environ.get("LUDUS_TEST_OPEN_SPIEL", "")
    if not programs:
        pytest.skip('needs OpenSpiel: peer=$(.ci/peers.sh start open_spiel); eval "$peer"')
    rng = np.random.default_rng(4)
    won = rng.integers(1, 20, size=(5, 5))
    np.fill_diagonal(won, 0)
    drawn = np.triu(rng.integers(0, 20, size=(5, 5)), 1)
    games = [
        SeedPair((f"p{one}", f"p{other}"), seed, points)
        for table, points in ((won, 2.0), (drawn, 1.0))
        for (one, other), count in np.ndenumerate(table)
        for seed in range(count)
    ]
    command = [f"{programs}/python", "-c", OPEN_SPIEL, json.dumps([won.tolist(), (drawn + drawn.T).tolist()])]
    theirs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ratings = rate(games, {"p0": theirs[0]}, resamples=0)
    assert [ratings[f"p{number}"].elo.value for number in range(5)] == pytest.approx(theirs, abs=1e-3)


def _by_majorisation(pairs: list[SeedPair], names: list[str]) -> list[float]:
    """The strengths, the phantom's last, by D. R. Hunter's algorithm (Annals of Statistics 32, 2004)."""
    won = {(a, b): 0.0 for a in [*names, ""] for b in [*names, ""]}
    for pair in pairs:
        a, b = pair.players
        won[a, b] += pair.points
        won[b, a] += 2 - pair.points
    for name in names:
        won[name, ""] = won["", name] = 1.0
    strength = dict.fromkeys([*names, ""], 1.0)
    for _ in range(1_000):
        for a in strength:
            total = sum(won[a, b] for b in strength)
            strength[a] = total / sum(
                (won[a, b] + won[b, a]) / (strength[a] + strength[b]) for b in strength if b != a
            )
    logs = [SCALE * float(np.log(strength[name])) for name in names]
    return [value - sum(logs) / len(logs) for value in logs]


def _tournament(strengths: dict[str, float], games: int, seed: int) -> list[SeedPair]:
    rng = np.random.default_rng(seed)
    return [
        SeedPair((a, b), number, float(rng.binomial(2, expected_score(strengths[a] - strengths[b]))))
        for a, b in combinations(strengths, 2)
        for number in range(games)
    ]


def test_another_algorithm_finds_the_same_maximum() -> None:
    pairs = [*_tournament({"a": 0, "b": 150, "c": 300}, 3, seed=1), SeedPair(("d", "a"), 0, 1.5)]
    ratings = rate(pairs, resamples=0)
    assert [ratings[name].elo.value for name in "abcd"] == pytest.approx(
        _by_majorisation(pairs, list("abcd")), abs=1e-4
    )


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.permutations("abcd"), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0])),
        min_size=1,
        max_size=12,
    ),
    st.randoms(),
)
def test_the_order_of_games_and_players_changes_no_bit(
    drawn: list[tuple[list[str], int, float]], random: Random
) -> None:
    pairs = [SeedPair((players[0], players[1]), seed, points) for players, seed, points in drawn]
    pairs.append(SeedPair(("a", "b"), 9, 2.0))
    pairs += [SeedPair((name, "a"), 8, 1.0) for name in "bcd"]
    turned = [
        SeedPair((pair.players[1], pair.players[0]), pair.seed, 2 - pair.points)
        if random.random() < 0.5
        else pair
        for pair in pairs
    ]
    random.shuffle(turned)
    anchors = {"a": 0.0, "d": 120.0}
    for given_ in ({}, anchors):
        turned_anchors = dict(reversed(given_.items()))
        assert rate(pairs, given_, resamples=20) == rate(turned, turned_anchors, resamples=20)


def test_who_wins_everything_has_a_rating_and_an_interval() -> None:
    ratings = rate([SeedPair(("strong", "weak"), seed, 2.0) for seed in range(10)], {"weak": 0.0})
    elo = ratings["strong"].elo
    assert 300 < elo.low < elo.value < elo.high < 4000
    assert not ratings.determined
    assert ratings["strong"].ahead == elo
    assert ratings["weak"].ahead is None
    more = rate([SeedPair(("strong", "weak"), seed, 2.0) for seed in range(40)], {"weak": 0.0})
    assert more["strong"].elo.low > elo.low


def test_intervals_hold_what_they_should() -> None:
    strengths = {"a": 0.0, "b": 100.0, "c": 250.0}
    held = total = 0
    for seed in range(40):
        ratings = rate(_tournament(strengths, 20, seed), {"a": 0.0}, resamples=100)
        for name in "bc":
            elo = ratings[name].elo
            held, total = held + (elo.low <= strengths[name] <= elo.high), total + 1
    # 95% of 80, less three standard deviations.
    assert held / total >= 0.87


def test_anchors_stay_where_they_are_and_make_figures_comparable() -> None:
    strengths = {"random": 0.0, "minimax": 400.0, "mine": 150.0, "yours": 250.0}
    anchors = {"random": 0.0, "minimax": 400.0, "absent": 7.0}

    def one(name: str) -> Ratings:
        return rate(
            _tournament({each: strengths[each] for each in ("random", "minimax", name)}, 100, 5), anchors
        )

    for name in ("mine", "yours"):
        ratings = one(name)
        assert ratings["minimax"].elo.value == ratings["minimax"].elo.low == 400.0
        assert ratings["minimax"].anchored
        assert not ratings[name].anchored
        assert ratings[name].elo.low < strengths[name] < ratings[name].elo.high


def test_what_the_games_cannot_say_is_an_error_in_one_line() -> None:
    apart = [SeedPair(("a", "b"), 1, 1.0), SeedPair(("d", "c"), 1, 1.0)]
    with pytest.raises(RatingError, match="no games connect a, b with c, d"):
        rate(apart)
    assert 0 < rate(apart, {"a": 0.0, "c": 50.0}, resamples=0)["d"].elo.value < 50
    with pytest.raises(RatingError, match="nobody can be rated"):
        rate([])
    with pytest.raises(RatingError, match="against itself"):
        rate([SeedPair(("a", "a"), 1, 1.0)])
    with pytest.raises(RatingError, match="0 to 2"):
        rate([SeedPair(("a", "b"), 1, 3.0)])


def test_a_win_scores_one_a_draw_half_and_amounts_count() -> None:
    assert [score(outcome) for outcome in ((1.0, -1.0), (0.0, 0.0), (-1.0, 1.0))] == [1.0, 0.5, 0.0]
    assert [score(outcome, 0.0, 5.0) for outcome in ((5.0, 0.0), (3.0, 3.0), (1.0, 3.0))] == [1.0, 0.5, 0.3]
