"""Bargaining: payoffs, Pareto deals, players; that no value leaks."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.games import make_game
from ludus.envs.games.bargaining import WORTH, Bargain, is_pareto, left_by, number_of, worth
from ludus.envs.games.player import named
from ludus.envs.games.values import expected

GAME = make_game("Bargaining")
DEALS = [state for _, state in GAME.chance(GAME.start())]


def played(state: Bargain, *names: str) -> Bargain:
    """The end of a bargain between players who leave nothing to chance."""
    while seats := GAME.to_move(state):
        moves = {}
        for seat in seats:
            legal = GAME.legal(state, seat)
            moves[seat] = legal[named(GAME, names[seat])(GAME.view(state, seat), legal).index(1.0)]
        state = GAME.play(state, moves)
    return state


def test_everything_is_worth_ten_and_each_item_something() -> None:
    assert sum(p for p, _ in GAME.chance(GAME.start())) == pytest.approx(1)
    for state in DEALS:
        assert [worth(values, state.pool) for values in state.values] == [WORTH, WORTH]
        assert min(map(min, state.values)) >= 1
    assert any(state.values[0] != state.values[1] for state in DEALS)


@pytest.mark.parametrize(
    ("demands", "earned", "pareto"),
    [
        (((2, 0, 0), (0, 2, 1)), (0.6, 0.8), True),
        (((2, 0, 0), (0, 1, 1)), (0.6, 0.6), False),
        (((0, 2, 1), (2, 0, 0)), (0.4, 0.2), False),
        (((2, 2, 1), (0, 0, 0)), (1.0, 0.0), True),
        (((0, 0, 0), (0, 0, 0)), (0.0, 0.0), False),
    ],
)
def test_payoffs_and_pareto(demands: tuple, earned: tuple[float, float], pareto: bool) -> None:
    state = Bargain((2, 2, 1), ((3, 1, 2), (1, 2, 4)))
    state = GAME.play(state, {seat: number_of(items) for seat, items in enumerate(demands)})
    assert GAME.outcome(state) == earned
    assert is_pareto(state) == pareto


def test_without_a_deal_nobody_gets_anything() -> None:
    state = Bargain((2, 2, 1), ((3, 1, 2), (1, 2, 4)))
    for _ in range(3):
        assert GAME.outcome(state) is None
        state = GAME.play(state, {0: number_of((2, 0, 1)), 1: number_of((0, 0, 1))})
    assert GAME.outcome(state) == (0.0, 0.0)
    assert not is_pareto(state)


def test_the_oracle_takes_all_that_a_fair_player_leaves() -> None:
    for state in DEALS:
        ended = played(state, "oracle", "fair")
        (own, other) = ended.demands[-1]
        assert ended.is_deal
        assert own == left_by(state.pool, other)
        assert worth(state.values[1], other) >= WORTH / 2
        result = GAME.outcome(ended)
        assert result is not None
        assert result[0] >= GAME.par(ended, 0) > 0


def test_yielding_players_agree_more_often_than_stubborn_ones() -> None:
    deals = {
        pair: sum(played(state, *pair).is_deal for state in DEALS)
        for pair in (("fair", "fair"), ("yielding", "yielding"))
    }
    assert deals["yielding", "yielding"] > deals["fair", "fair"]


def test_expected_earnings_visit_every_deal() -> None:
    players = (named(GAME, "oracle"), named(GAME, "fair"))
    average = expected(GAME, players)
    by_hand = [0.0, 0.0]
    for p, state in GAME.chance(GAME.start()):
        for seat, value in enumerate(GAME.outcome(played(state, "oracle", "fair")) or ()):
            by_hand[seat] += p * value
    assert average == pytest.approx(by_hand)


@settings(max_examples=30)
@given(st.integers(0, 10**9), st.sampled_from([0, 1]))
def test_what_the_items_are_worth_to_the_other_side_is_hidden(seed: int, seat: int) -> None:
    source = random.Random(seed)
    state = source.choice(DEALS)
    alike = [each for each in DEALS if each.pool == state.pool and each.values[seat] == state.values[seat]]
    other = replace(state, values=source.choice(alike).values)
    while True:
        views = [GAME.view(each, seat) for each in (state, other)]
        assert views[0] == views[1]
        assert GAME.tell(views[0]) == GAME.tell(views[1])
        assert GAME.array(views[0]).tolist() == GAME.array(views[1]).tolist()
        if not GAME.to_move(state):
            break
        assert GAME.legal(state, seat) == GAME.legal(other, seat)
        moves = {each: source.choice(GAME.legal(state, each)) for each in (0, 1)}
        state, other = GAME.play(state, moves), GAME.play(other, moves)
