"""TicTacToe: its states counted, its perfect player against everything that can be played."""

from ludus.envs.games import make_game
from ludus.envs.games.player import named
from ludus.envs.games.tic_tac_toe import Marks, value
from ludus.envs.games.values import best_response

GAME = make_game("TicTacToe")


def reachable() -> set[Marks]:
    found, pending = {GAME.start()}, [GAME.start()]
    while pending:
        state = pending.pop()
        for seat in GAME.to_move(state):
            for move in GAME.legal(state, seat):
                after = GAME.play(state, {seat: move})
                if after not in found:
                    found.add(after)
                    pending.append(after)
    return found


def test_the_states_are_as_many_as_published() -> None:
    states = reachable()
    ended = [GAME.outcome(state) for state in states if GAME.outcome(state) is not None]
    assert len(states) == 5478
    assert len(states) - len(ended) == 4520
    # First wins, second wins, draws: 626, 316, 16.
    assert [ended.count(result) for result in ((1.0, -1.0), (-1.0, 1.0), (0.0, 0.0))] == [626, 316, 16]


def test_nobody_wins_against_the_perfect_player() -> None:
    assert value(GAME.start()) == 0
    oracle = named(GAME, "oracle")
    assert best_response(GAME, (oracle, oracle), 0) <= 1e-12
    assert best_response(GAME, (oracle, oracle), 1) <= 1e-12


def test_looking_ahead_to_the_end_is_perfect() -> None:
    ahead = named(GAME, "minimax:9")
    for state in sorted(reachable(), key=lambda state: state.squares)[::37]:
        for seat in GAME.to_move(state):
            legal = GAME.legal(state, seat)
            chosen = [m for m, p in zip(legal, ahead((state, seat), legal), strict=True) if p]
            assert chosen
            assert {value(GAME.play(state, {seat: move})) for move in chosen} == {value(state)}


def test_one_move_ahead_takes_a_win_and_two_prevent_one() -> None:
    win = Marks("XX.OO....")
    assert named(GAME, "minimax:1")((win, 0), (2, 5, 6, 7, 8)) == (1.0, 0.0, 0.0, 0.0, 0.0)
    threat = Marks("XX.O.....")
    assert named(GAME, "minimax:2")((threat, 1), (2, 4, 5, 6, 7, 8)) == (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
