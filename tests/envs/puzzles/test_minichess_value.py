"""`ludus/MinichessValue-v0`: the table keeps the rules of the game, and exactly its results are right."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.errors import ArgumentError
from ludus.envs.games import make_game
from ludus.envs.games.minichess.engine import BISHOP, KNIGHT, MATE, QUEEN, ROOK, look_ahead
from ludus.envs.games.minichess.game import Position
from ludus.envs.puzzles.minichess_value.endgames import PIECES, Endgame, draw_endgame, result_of, table
from ludus.envs.puzzles.minichess_value.environment import PAIRS, Endgames, MinichessValue, board

GAME = make_game("Minichess")
PIECE = st.sampled_from((KNIGHT, BISHOP, ROOK, QUEEN))


@pytest.mark.parametrize(("piece", "wins"), [(QUEEN, True), (ROOK, True), (BISHOP, False), (KNIGHT, False)])
def test_a_piece_against_the_king_alone_is_worth_what_every_book_says(piece: int, wins: bool) -> None:
    codes = table(piece, piece).reshape(6, 26, 25, 26, 2)[:, :25, :, 25, 0]
    # 3 is no position; 1 is won for White, who moves, 0 is drawn.
    assert set(np.unique(codes).tolist()) == {1 if wins else 0, 3}


@settings(max_examples=60)
@given(st.integers(0, 2**32), PIECE, PIECE, st.integers(0, 1), st.integers(0, 2))
def test_a_result_follows_from_those_one_move_on(
    seed: int, white: int, black: int, mover: int, result: int
) -> None:
    endgame = draw_endgame(np.random.PCG64(seed).random_raw, (white, black), result, mover)
    if endgame is None:
        return
    assert result_of(endgame) == result
    assert {PIECES[white], PIECES[black].lower(), "K", "k"} == set(endgame.squares) - {"."}
    state = Position(endgame.squares, plies=mover)
    after = []
    for move in GAME.legal(state, mover):
        later = GAME.play(state, {mover: move})
        after.append(result_of(Endgame(later.squares, 1 - mover)))
    assert None not in after
    if after:
        best = mover if mover in after else 2 if 2 in after else 1 - mover
    else:
        outcome = GAME.outcome(state)
        assert outcome is not None
        best = 2 if outcome[0] == 0 else 1 - mover
    assert best == result


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from(PAIRS), st.integers(0, 1))
def test_a_mate_that_alpha_beta_finds_is_a_win(seed: int, pair: str, mover: int) -> None:
    source = random.Random(seed)
    squares = ["."] * 25
    for sign, square in zip(("K", pair[0], "k", pair[1].lower()), source.sample(range(25), 4), strict=True):
        squares[square] = sign
    endgame = Endgame("".join(squares), mover)
    state = Position(endgame.squares, plies=mover)
    found = result_of(endgame)
    moves = [GAME.word(move) for move in GAME.legal(state, mover)]
    if found is None or not moves:
        return
    numbers = [_as_engine(move) for move in moves]
    best = max(look_ahead(state.board, state.side, 5, numbers))
    if abs(best) > MATE - 100:
        assert found == (mover if best > 0 else 1 - mover)


def _as_engine(move: str) -> int:
    start, end = (5 * (5 - int(square[1])) + "abcde".index(square[0]) for square in (move[:2], move[2:4]))
    return (25 * start + end) * 7


@pytest.mark.parametrize("pair", PAIRS)
def test_every_result_is_drawn_whoever_moves(pair: str) -> None:
    white, black = map(PIECES.index, pair)
    raw = np.random.PCG64(3).random_raw
    for result in range(3):
        for mover in range(2):
            for pieces in ((white, black), (black, white)):
                endgame = draw_endgame(raw, pieces, result, mover)
                assert endgame is not None
                assert (result_of(endgame), endgame.mover) == (result, mover)


def test_what_the_table_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="which is no pawn"):
        result_of(Endgame("K...k" + "." * 15 + "P....", 0))
    assert result_of(Endgame("KR..k" + "." * 20, 0)) is None
    with pytest.raises(ArgumentError, match="pieces: 'RB' is unknown"):
        MinichessValue(pieces="RB")


STATE = Endgames((Endgame("K..Rk" + "." * 20, 1), Endgame("K...k" + "." * 20, 0)), (0, 2))


@pytest.mark.parametrize(
    ("answer", "right"),
    [("White, draw", 1.0), ("WHITE\nDraw", 1.0), ("white;black", 0.5), ("draw, White", 0.0)],
)
def test_words_in_order_are_right(answer: str, right: float) -> None:
    outcome = MinichessValue(positions=2).respond(STATE, f"<think>so</think><answer>{answer}</answer>")
    assert outcome.terms["right"] == right
    assert outcome.success == (right == 1)
    assert outcome.terms["malformed"] == 0
    assert outcome.terminated


@pytest.mark.parametrize(
    "answer", ["White", "White, draw, draw", "White or draw", "1-0, draw", "", "White, draw</answer><answer>"]
)
def test_anything_else_is_malformed(answer: str) -> None:
    outcome = MinichessValue(positions=2).respond(STATE, f"<think>so</think><answer>{answer}</answer>")
    assert outcome.terms["malformed"] == 1
    assert outcome.terms["right"] == 0
    assert "write 2 words, once" in outcome.messages[0]["content"]


def test_positions_are_shown_as_the_game_shows_them() -> None:
    assert board(STATE.positions[0]) == GAME.board(Position(STATE.positions[0].squares))
    env = MinichessValue(positions=3)
    messages, _ = env.reset(seed=5)
    assert messages[1]["content"].count("to move:") == 3
    assert env.verdict.expected.count(",") == 2
