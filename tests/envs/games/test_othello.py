"""Othello: moves counted, the search against plain search, the small board solved."""

import random
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.errors import ArgumentError
from ludus.envs.games import make_game
from ludus.envs.games.othello.game import Othello, Sides
from ludus.envs.games.othello.solver import WIN, squares
from ludus.envs.games.player import choose, named

SMALL, WHOLE = make_game("Othello", size=4), make_game("Othello")


def count(own: int, other: int, depth: int, passed: bool = False) -> int:
    """Ways to play so many moves on 8 × 8 squares."""
    board = squares(8)
    if depth == 0:
        return 1
    places = board.moves(own, other)
    if not places:
        return 1 if passed else count(other, own, depth - 1, True)
    total = 0
    while places:
        square = places & -places
        places ^= square
        flipped = board.flips(own, other, square)
        total += count(other ^ flipped, own | square | flipped, depth - 1)
    return total


def test_the_moves_are_as_many_as_published() -> None:
    """Perft of 8 × 8 squares, as reversi programs are tested with."""
    start = (1 << 28 | 1 << 35, 1 << 27 | 1 << 36)
    assert [count(*start, depth) for depth in range(1, 7)] == [4, 12, 56, 244, 1396, 8200]


def flipped_plainly(game: Othello, state: Sides, place: int) -> set[int]:
    """Square by square."""
    size, (row, column) = game.size, divmod(place, game.size)
    own, other = state.discs[state.mover], state.discs[1 - state.mover]
    flipped: set[int] = set()
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            line, r, c = [], row + down, column + right
            while 0 <= r < size and 0 <= c < size and other >> (size * r + c) & 1:
                line.append(size * r + c)
                r, c = r + down, c + right
            if 0 <= r < size and 0 <= c < size and own >> (size * r + c) & 1:
                flipped |= set(line)
    return flipped


@settings(max_examples=25)
@given(st.integers(0, 10**9))
def test_moves_and_flips_are_those_of_the_rules(seed: int) -> None:
    source, state = random.Random(seed), WHOLE.start()
    while WHOLE.to_move(state):
        taken = state.discs[0] | state.discs[1]
        flips = {place: flipped_plainly(WHOLE, state, place) for place in range(36) if not taken >> place & 1}
        legal = WHOLE.legal(state, state.mover)
        assert legal == (tuple(place for place in flips if flips[place]) or (36,))
        move = source.choice(legal)
        after = WHOLE.play(state, {state.mover: move})
        turned = state.discs[1 - state.mover] ^ after.discs[1 - state.mover]
        assert turned == sum(1 << place for place in flips.get(move, ()))
        state = after


@cache
def ahead(state: Sides) -> int:
    """The discs by which the first side ends ahead if both want most, by visiting everything."""
    if not SMALL.to_move(state):
        return state.discs[0].bit_count() - state.discs[1].bit_count()
    values = [ahead(SMALL.play(state, {state.mover: move})) for move in SMALL.legal(state, state.mover)]
    return min(values) if state.mover else max(values)


def test_the_second_side_wins_on_four_by_four_by_eight_discs() -> None:
    """3 to 11, as published. The search, which values a win and then discs, agrees from the start on."""
    start = SMALL.start()
    assert ahead(start) == -8
    assert max(squares(4).look_ahead(*start.discs, 12)) == -WIN - 8


@settings(max_examples=20)
@given(st.integers(0, 10**9), st.integers(0, 9))
def test_looking_to_the_end_agrees_with_plain_search(seed: int, plies: int) -> None:
    source, state = random.Random(seed), SMALL.start()
    for _ in range(plies):
        if SMALL.to_move(state):
            state = SMALL.play(state, {state.mover: source.choice(SMALL.legal(state, state.mover))})
    if SMALL.to_move(state) and SMALL.legal(state, state.mover) != (16,):
        found = max(squares(4).look_ahead(state.discs[state.mover], state.discs[1 - state.mover], 12))
        discs = found - WIN if found > 0 else found + WIN if found < 0 else 0
        assert discs == (-ahead(state) if state.mover else ahead(state))


def test_who_looks_further_wins() -> None:
    source, won = random.Random(0), 0.0
    players = [named(WHOLE, "minimax:5"), named(WHOLE, "minimax:1")]
    for number in range(20):
        state, strong = WHOLE.start(), number % 2
        while WHOLE.to_move(state):
            player = players[state.mover != strong]
            move = choose(WHOLE, player, state, state.mover, source.random())
            state = WHOLE.play(state, {state.mover: move})
        result = WHOLE.outcome(state)
        assert result is not None
        won += result[strong]
    assert won >= 8


def test_who_has_no_move_must_pass() -> None:
    # X on the left, O beside it, and nothing that O could enclose.
    state = Sides((1 << 0, 1 << 1), 1)
    assert WHOLE.to_move(state) == (1,)
    assert [WHOLE.word(move) for move in WHOLE.legal(state, 1)] == ["pass"]
    assert WHOLE.play(state, {1: 36}) == Sides(state.discs, 0)


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(ArgumentError, match="give 4 or 6"):
        make_game("Othello", size=8)
