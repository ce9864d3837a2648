"""Kuhn poker: its value, its equilibria, exploitability against plain enumeration; no card leaks."""

from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.games import make_game
from ludus.envs.games.kuhn import BET, CALL, CHECK, FOLD, Hand, KuhnView, equilibrium, honest
from ludus.envs.games.player import certain, mixed, named, random
from ludus.envs.games.values import best_response, expected, exploitability

GAME = make_game("KuhnPoker")
ROUNDING = 100 * 2**-53
"""Thirty terminal states, each a product of few probabilities."""
COURSES = [(), (CHECK,), (BET,), (CHECK, BET)]
ENDS = [(CHECK, CHECK), (BET, CALL), (BET, FOLD), (CHECK, BET, CALL), (CHECK, BET, FOLD)]


@given(st.floats(0, 1 / 3))
def test_every_equilibrium_is_worth_minus_an_eighteenth_and_cannot_be_exploited(bluff: float) -> None:
    strategy = equilibrium(bluff)
    first, second = expected(GAME, (strategy, strategy))
    assert first == pytest.approx(-1 / 18, abs=ROUNDING)
    assert second == -first
    assert exploitability(GAME, (strategy, strategy)) == pytest.approx(0, abs=ROUNDING)


@pytest.mark.parametrize("strategy", [random, honest, mixed(equilibrium(), 0.8)])
def test_others_can_be_exploited(strategy) -> None:  # type: ignore[no-untyped-def]
    assert exploitability(GAME, (strategy, strategy)) > 0.01


def test_the_more_often_it_plays_well_the_less_it_can_be_exploited() -> None:
    players = [named(GAME, name) for name in ("random", "oracle:25", "oracle:50", "oracle:75", "oracle")]
    measured = [exploitability(GAME, (player, player)) for player in players]
    assert measured == sorted(measured, reverse=True)


@pytest.mark.parametrize("seat", [0, 1])
@pytest.mark.parametrize("other", [random, honest, equilibrium()])
def test_the_best_response_is_the_best_of_all_plain_strategies(seat: int, other) -> None:  # type: ignore[no-untyped-def]
    courses = [course for course in COURSES if len(course) % 2 == seat]
    views = [KuhnView(seat, card, course) for card in range(3) for course in courses]
    best = -9.0
    for choices in product((0, 1), repeat=len(views)):
        plan = dict(zip(views, choices, strict=True))

        def plain(view, legal, plan=plan):  # type: ignore[no-untyped-def]
            return certain(legal[plan[view]], legal)

        pair = (plain, other) if seat == 0 else (other, plain)
        best = max(best, expected(GAME, pair)[seat])
    assert best_response(GAME, (other, other), seat) == pytest.approx(best, abs=ROUNDING)


def test_what_cannot_be_told_apart_looks_the_same() -> None:
    """Before a showdown, and after a fold, the other card plays no part in what a seat is shown."""
    for (one, other), course, seat in product(permutations(range(3), 2), [*COURSES, *ENDS], (0, 1)):
        third = 3 - one - other
        hands = [(one, other), (one, third) if seat == 0 else (third, other)]
        views = [GAME.view(Hand(cards, course), seat) for cards in hands]
        is_showdown = course in ENDS and FOLD not in course
        assert (views[0] == views[1]) == (not is_showdown)
        assert (GAME.tell(views[0]) == GAME.tell(views[1])) == (not is_showdown)
        assert (GAME.array(views[0]).tolist() == GAME.array(views[1]).tolist()) == (not is_showdown)


def test_payoffs() -> None:
    earned = [GAME.outcome(Hand((2, 0), course)) for course in ENDS]
    assert earned == [(1, -1), (2, -2), (1, -1), (2, -2), (-1, 1)]
    assert all(GAME.outcome(Hand((2, 0), course)) is None for course in COURSES)
