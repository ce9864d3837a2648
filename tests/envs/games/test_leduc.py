"""Leduc poker and CFR+: published numbers, payoffs, and that no card leaks."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.games import make_game
from ludus.envs.games.equilibrium import equilibrium
from ludus.envs.games.leduc import BET, CALL, CHECK, FOLD, RAISE, Deal
from ludus.envs.games.player import named
from ludus.envs.games.values import best_response, expected, exploitability

GAME = make_game("LeducPoker")


def played(source: random.Random) -> list[Deal]:
    """The states of a hand of random moves, from the deal on."""
    states = [source.choice(GAME.chance(GAME.start()))[1]]
    while GAME.to_move(states[-1]):
        state = states[-1]
        states.append(GAME.play(state, {state.mover: source.choice(GAME.legal(state, state.mover))}))
    return states


def test_there_are_as_many_things_to_know_as_published() -> None:
    """288 information sets, with equal cards counted as one (Southey et al. 2005)."""
    views, pending = set(), [state for _, state in GAME.chance(GAME.start())]
    while pending:
        state = pending.pop()
        for seat in GAME.to_move(state):
            views.add(GAME.view(state, seat))
            pending += [GAME.play(state, {seat: move}) for move in GAME.legal(state, seat)]
    assert len(views) == 288


def test_the_value_and_the_exploitability_of_random_play_are_as_published() -> None:
    """-0.085606 for the first side, and 4.747222 for both together against random play (OpenSpiel)."""
    oracle, uniform = named(GAME, "oracle"), named(GAME, "random")
    assert exploitability(GAME, (uniform, uniform)) == pytest.approx(4.747222 / 2, abs=1e-6)
    gap = exploitability(GAME, (oracle, oracle))
    assert 0 <= gap < 0.001
    # No value can be further from the true one than what could still be won.
    assert expected(GAME, (oracle, oracle))[0] == pytest.approx(-0.0856064, abs=2 * gap)


def test_cfr_finds_the_value_of_kuhn_poker() -> None:
    kuhn = make_game("KuhnPoker")
    found = equilibrium(kuhn, 200)
    gap = exploitability(kuhn, (found, found))
    assert 0 <= gap < 0.001
    assert expected(kuhn, (found, found))[0] == pytest.approx(-1 / 18, abs=2 * gap)


def test_weaker_players_can_be_exploited_more() -> None:
    gaps = [exploitability(GAME, (named(GAME, name),) * 2) for name in ("oracle", "honest", "random")]
    assert gaps == sorted(gaps)
    assert best_response(GAME, (named(GAME, "honest"),) * 2, 0) > 0.5


@pytest.mark.parametrize(
    ("cards", "moves", "earned"),
    [
        ((2, 0, 1), (CHECK, CHECK, CHECK, CHECK), 1),
        ((0, 2, 0), (CHECK, CHECK, CHECK, CHECK), 1),
        ((0, 1, 2), (BET, CALL, BET, CALL), -7),
        ((1, 1, 0), (BET, RAISE, CALL, CHECK, CHECK), 0),
        ((0, 2, 1), (BET, FOLD), 1),
        ((2, 0, 2), (BET, RAISE, FOLD), -3),
        ((2, 0, 2), (BET, RAISE, CALL, BET, RAISE, CALL), 13),
    ],
)
def test_payoffs(cards: tuple[int, ...], moves: tuple[int, ...], earned: float) -> None:
    state = Deal(cards)
    for move in moves:
        assert GAME.outcome(state) is None
        assert move in GAME.legal(state, state.mover)
        state = GAME.play(state, {state.mover: move})
    assert GAME.outcome(state) == (earned, -earned)


@settings(max_examples=40)
@given(st.integers(0, 10**9))
def test_what_a_seat_cannot_tell_apart_looks_the_same(seed: int) -> None:
    """Another card on the other side, or on the table before it is shown, changes nothing that is shown."""
    source = random.Random(seed)
    for state in played(source):
        is_showdown = state.is_over and state.rounds[-1][-1][1] != FOLD
        for seat in (0, 1):
            cards = [source.randrange(3) for _ in range(3)]
            cards[seat] = state.cards[seat]
            if len(state.rounds) == 2:
                cards[2] = state.cards[2]
            if is_showdown:
                cards[1 - seat] = state.cards[1 - seat]
            shown: list[Any] = []
            for each in (state, replace(state, cards=tuple(cards))):
                view = GAME.view(each, seat)
                shown.append((view, GAME.tell(view), GAME.array(view).tolist()))
            assert shown[0] == shown[1]


def test_the_cards_are_dealt_as_from_a_pack() -> None:
    deals = {state.cards: p for p, state in GAME.chance(GAME.start())}
    assert len(deals) == 24
    assert deals[(0, 0, 1)] == pytest.approx(2 * 1 * 2 / 120)
    assert deals[(0, 1, 2)] == pytest.approx(2 * 2 * 2 / 120)
    assert (1, 1, 1) not in deals
