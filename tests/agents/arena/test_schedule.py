"""Who plays whom: seats swapped on the same seed, everybody against everybody, Swiss rounds."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.arena.schedule import Fixture, round_robin, swiss_round, swiss_rounds


def test_both_games_of_a_pair_have_one_seed_whoever_else_plays() -> None:
    few, many = round_robin(["a", "b"], 3), round_robin(["c", "b", "a"], 3)
    assert len(few) == 6
    assert len(many) == 18
    assert set(few) <= set(many)
    for fixture in few:
        swapped = Fixture(fixture.second, fixture.first, fixture.number)
        assert swapped in few
        assert swapped.seed(7) == fixture.seed(7) != fixture.seed(8)
    assert len({fixture.seed(7) for fixture in many}) == 9


@settings(max_examples=30)
@given(st.integers(2, 9), st.randoms())
def test_swiss_players_meet_once_rest_once_and_are_all_connected(count: int, random: object) -> None:
    scores = {f"p{number}": 0.0 for number in range(count)}
    met: set[frozenset[str]] = set()
    for _ in range(swiss_rounds(count)):
        drawn, resting = swiss_round(scores, met)
        seated = [name for two in drawn for name in two] + ([resting] if resting else [])
        assert sorted(seated) == sorted(scores)
        new = {frozenset(two) for two in drawn} | ({frozenset({resting})} if resting else set())
        assert not new & met
        met |= new
        for one, other in drawn:
            scores[random.choice([one, other])] += 1  # type: ignore[attr-defined]
        if resting:
            scores[resting] += 1
    assert len(met) == swiss_rounds(count) * -(-count // 2)


def test_neighbours_in_the_table_meet() -> None:
    drawn, resting = swiss_round({"a": 1.0, "b": 2.0, "c": 0.0, "d": 2.0, "e": 0.5}, set())
    assert drawn == [("b", "d"), ("a", "e")]
    assert resting == "c"


@pytest.mark.parametrize(("players", "rounds"), [(2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4)])
def test_a_swiss_tournament_is_as_long_as_a_knock_out(players: int, rounds: int) -> None:
    assert swiss_rounds(players) == rounds


def test_when_all_have_met_some_meet_again() -> None:
    met = {frozenset(two) for two in combinations("ab", 2)}
    assert swiss_round({"a": 0.0, "b": 0.0}, met) == ([("a", "b")], None)
