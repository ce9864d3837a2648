"""ConnectFour: positions counted, the solver against plain search and published values."""

import random
import time
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.errors import ArgumentError
from ludus.envs.games import make_game
from ludus.envs.games.connect_four.game import ConnectFour, Discs, has_four
from ludus.envs.games.connect_four.solver import WIN, board
from ludus.envs.games.player import choose, named

SMALL = make_game("ConnectFour", rows=4, columns=4)
WHOLE = make_game("ConnectFour")


def played(game: ConnectFour, source: random.Random, discs: int) -> Discs | None:
    """A position of random moves; None where the game ended before."""
    state = game.start()
    for _ in range(discs):
        if not (seats := game.to_move(state)):
            return None
        state = game.play(state, {seats[0]: source.choice(game.legal(state, seats[0]))})
    return state if game.to_move(state) else None


@cache
def plain(state: Discs) -> float:
    """For the first seat, by visiting everything."""
    result = SMALL.outcome(state)
    if result is not None:
        return result[0]
    values = [plain(SMALL.play(state, {state.mover: move})) for move in SMALL.legal(state, state.mover)]
    return min(values) if state.mover else max(values)


def solved(game: ConnectFour, state: Discs) -> tuple[int, int]:
    """The value for who is to move, and a move."""
    legal = game.legal(state, state.mover)
    found = board(game.rows, game.columns).solve(state.discs[state.mover], state.taken, legal)
    assert found is not None
    return found


def test_positions_are_as_many_as_published() -> None:
    """By number of discs, a game that is over not continued (OEIS A212693)."""
    layer, counts = {WHOLE.start()}, []
    for _ in range(6):
        counts.append(len(layer))
        layer = {
            WHOLE.play(state, {seat: move})
            for state in layer
            for seat in WHOLE.to_move(state)
            for move in WHOLE.legal(state, seat)
        }
    assert counts == [1, 7, 49, 238, 1120, 4263]


@given(st.integers(0, 2**49 - 1))
def test_four_in_a_row_is_seen(discs: int) -> None:
    full = sum(((1 << 6) - 1) << 7 * column for column in range(7))
    discs &= full
    there = {(place // 7, place % 7) for place in range(49) if discs >> place & 1}
    lines = ((1, 0), (0, 1), (1, 1), (1, -1))
    expected = any(
        all((column + n * dx, row + n * dy) in there for n in range(4))
        for column, row in there
        for dx, dy in lines
    )
    assert has_four(discs, 6) == expected


@settings(max_examples=30)
@given(st.integers(0, 10**9), st.integers(6, 15))
def test_the_solver_agrees_with_plain_search(seed: int, discs: int) -> None:
    state = played(SMALL, random.Random(seed), discs)
    if state is not None:
        value, move = solved(SMALL, state)
        sign = -1 if state.mover else 1
        assert value == sign * plain(state)
        assert plain(SMALL.play(state, {state.mover: move})) == plain(state)


@settings(max_examples=10)
@given(st.integers(0, 10**9), st.integers(28, 40))
def test_the_solver_agrees_with_looking_ahead_to_the_end(seed: int, discs: int) -> None:
    state = played(WHOLE, random.Random(seed), discs)
    if state is not None:
        ahead = board(6, 7).look_ahead(state.discs[state.mover], state.taken, 42 - discs, False)
        assert ahead is not None
        best = max(ahead)
        assert solved(WHOLE, state)[0] == (best > 0) - (best < 0)


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (4, 5), (5, 4), (5, 5), (5, 6)])
def test_small_boards_are_drawn(rows: int, columns: int) -> None:
    game = make_game("ConnectFour", rows=rows, columns=columns)
    assert solved(game, game.start())[0] == 0


@settings(max_examples=8)
@given(st.integers(0, 10**9))
def test_the_oracle_is_perfect_from_sixteen_discs_on(seed: int) -> None:
    state = played(WHOLE, random.Random(seed), 16)
    oracle = named(WHOLE, "oracle")
    while state is not None and WHOLE.to_move(state):
        value, _ = solved(WHOLE, state)
        after = WHOLE.play(state, {state.mover: choose(WHOLE, oracle, state, state.mover, 0.5)})
        result = WHOLE.outcome(after)
        kept = -solved(WHOLE, after)[0] if result is None else int(result[state.mover])
        assert kept == value
        state = after


def test_looking_ahead_sees_wins_and_losses_and_nothing_else() -> None:
    start = board(6, 7)
    assert start.look_ahead(0, 0, 3, False) == [0] * 7
    # X has three at the bottom of columns 2 to 4, O one on each of two.
    own, other = 1 << 7 | 1 << 14 | 1 << 21, 1 << 8 | 1 << 15
    won = start.look_ahead(own, own | other, 1, False)
    assert won is not None
    assert won[0] == won[4] == max(won) == WIN - 6
    assert start.look_ahead(0, 0, 12, True, most=10) is None


def test_who_looks_further_wins() -> None:
    weak, strong = named(WHOLE, "minimax:1"), named(WHOLE, "minimax:5")
    source, won = random.Random(1), 0.0
    for number in range(20):
        state, seat = WHOLE.start(), number % 2
        while WHOLE.to_move(state):
            player = strong if state.mover == seat else weak
            state = WHOLE.play(
                state, {state.mover: choose(WHOLE, player, state, state.mover, source.random())}
            )
        result = WHOLE.outcome(state)
        assert result is not None
        won += result[seat]
    assert won >= 14


@pytest.mark.slow
def test_the_oracle_answers_within_fifty_milliseconds() -> None:
    """The 99th percentile after eight discs, on a processor of its own: processor time is measured."""
    source, oracle = random.Random(0), named(WHOLE, "oracle")
    seconds = []
    for _ in range(60):
        state = WHOLE.start()
        while WHOLE.to_move(state):
            begun = time.process_time()
            move = choose(WHOLE, oracle, state, state.mover, source.random())
            if state.taken.bit_count() >= 8:
                seconds.append(time.process_time() - begun)
            legal = WHOLE.legal(state, state.mover)
            state = WHOLE.play(state, {state.mover: move if source.random() < 0.8 else source.choice(legal)})
    assert sorted(seconds)[int(0.99 * len(seconds))] <= 0.05


@pytest.mark.parametrize("arguments", [{"rows": 3}, {"columns": 8}, {"rows": "six"}])
def test_a_wrong_size_is_refused(arguments: dict) -> None:
    with pytest.raises(ArgumentError, match="from 4 to 7"):
        make_game("ConnectFour", **arguments)
