"""Nim: the perfect player against exhaustive search."""

from functools import cache

from ludus.envs.games import make_game
from ludus.envs.games.nim import Heaps, nim_sum
from ludus.envs.games.player import named
from ludus.envs.games.values import best_response, expected

GAME = make_game("Nim", heaps=3, largest=4)


@cache
def wins(state: Heaps) -> bool:
    """Whether who is to move can win, by visiting everything."""
    return any(not wins(GAME.play(state, {state.mover: move})) for move in GAME.legal(state, state.mover))


def test_who_is_to_move_loses_where_the_exclusive_or_is_zero() -> None:
    """Bouton 1901."""
    for heaps in ((a, b, c) for a in range(5) for b in range(5) for c in range(5)):
        assert wins(Heaps(heaps)) == bool(nim_sum(heaps))


def test_every_start_can_be_won_and_the_oracle_wins_it() -> None:
    starts = GAME.chance(GAME.start())
    assert all(wins(state) for _, state in starts)
    small = make_game("Nim", heaps=2, largest=3)
    oracle, weak = named(small, "oracle"), named(small, "random")
    assert best_response(small, (oracle, weak), 1) < -1 + 1e-12
    assert expected(small, (oracle, weak))[0] > 1 - 1e-12


def test_the_oracle_takes_the_win_it_is_given() -> None:
    oracle = named(GAME, "oracle")
    state = Heaps((1, 2, 4))
    legal = GAME.legal(state, 0)
    chosen = [move for move, p in zip(legal, oracle((state, 0), legal), strict=True) if p]
    assert [GAME.word(move) for move in chosen] == ["1 from c"]
