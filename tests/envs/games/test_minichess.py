"""Gardner's minichess: moves counted, rules by example, the search against plain search."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.games import make_game
from ludus.envs.games.minichess.engine import MATE, look_ahead
from ludus.envs.games.minichess.game import MOVE_LIMIT, QUIET_LIMIT, Minichess, Position
from ludus.envs.games.player import choose, named

GAME: Minichess = make_game("Minichess")


def count(state: Position, depth: int) -> int:
    legal = GAME.legal(state, state.mover)
    if depth == 1:
        return len(legal)
    return sum(count(GAME.play(state, {state.mover: move}), depth - 1) for move in legal)


def words(state: Position) -> set[str]:
    return {GAME.word(move) for move in GAME.legal(state, state.mover)}


def squares(*rows: str) -> str:
    return "".join(rows)


@pytest.mark.parametrize(("depth", "moves"), [(1, 7), (2, 53), (3, 506), (4, 4775)])
def test_the_moves_are_as_many_as_another_program_finds(depth: int, moves: int) -> None:
    """Perft by Fairy-Stockfish, as pyffish 0.0.90."""
    assert count(GAME.start(), depth) == moves


def test_the_first_moves() -> None:
    assert words(GAME.start()) == {"a2a3", "b2b3", "c2c3", "d2d3", "e2e3", "b1a3", "b1c3"}


def plainly_legal(state: Position) -> set[str]:
    """Piece by piece, and without those moves after which the king could be taken."""

    def reached(board: str, white: bool) -> dict[tuple[int, int], None]:
        found: dict[tuple[int, int], None] = {}
        for start, sign in enumerate(board):
            if sign == "." or sign.isupper() != white:
                continue
            row, column = divmod(start, 5)
            kind = sign.upper()
            if kind == "P":
                up = -1 if white else 1
                for right in (-1, 0, 1):
                    r, c = row + up, column + right
                    if 0 <= r < 5 and 0 <= c < 5:
                        there = board[5 * r + c]
                        if there == "." if right == 0 else there != "." and there.isupper() != white:
                            found[start, 5 * r + c] = None
                continue
            straight, diagonal = [(0, 1), (1, 0), (0, -1), (-1, 0)], [(1, 1), (1, -1), (-1, 1), (-1, -1)]
            hops = [(a, b) for a in (-2, -1, 1, 2) for b in (-2, -1, 1, 2) if abs(a) != abs(b)]
            ways = {"N": hops, "R": straight, "B": diagonal}.get(kind, straight + diagonal)
            for down, right in ways:
                for far in range(1, 2 if kind in "NK" else 5):
                    r, c = row + far * down, column + far * right
                    if not (0 <= r < 5 and 0 <= c < 5):
                        break
                    there = board[5 * r + c]
                    if there == "." or there.isupper() != white:
                        found[start, 5 * r + c] = None
                    if there != ".":
                        break
        return found

    white = state.mover == 0
    names = [f"{column}{row}" for row in (5, 4, 3, 2, 1) for column in "abcde"]
    legal = set()
    for start, end in reached(state.squares, white):
        after = list(state.squares)
        after[end], after[start] = after[start], "."
        king = after.index("K" if white else "k")
        if any(target == king for _, target in reached("".join(after), not white)):
            continue
        is_promoted = state.squares[start] in "Pp" and end // 5 in (0, 4)
        legal |= {names[start] + names[end] + piece for piece in ("nbrq" if is_promoted else ("",))}
    return legal


@settings(max_examples=5)
@given(st.integers(0, 10**9))
def test_legal_moves_are_those_of_the_rules(seed: int) -> None:
    source, state = random.Random(seed), GAME.start()
    while GAME.to_move(state) and state.plies < 60:
        assert words(state) == plainly_legal(state)
        state = GAME.play(state, {state.mover: source.choice(GAME.legal(state, state.mover))})


def test_mate_stalemate_and_draws() -> None:
    mate = Position(squares("k....", ".Q...", "..K..", ".....", "....."), plies=1)
    assert GAME.outcome(mate) == (1.0, -1.0)
    stalemate = Position(squares("k....", "..Q..", "..K..", ".....", "....."), plies=1)
    assert GAME.outcome(stalemate) == (0.0, 0.0)
    bare = squares("k....", ".....", "..K..", ".....", ".....")
    assert GAME.outcome(Position(bare, plies=1)) is None
    assert GAME.outcome(Position(bare, plies=1, quiet=QUIET_LIMIT)) == (0.0, 0.0)
    assert GAME.outcome(Position(bare, plies=2 * MOVE_LIMIT)) == (0.0, 0.0)


def test_a_pawn_is_promoted_to_what_its_player_names() -> None:
    state = Position(squares("..n.k", ".P...", ".....", ".....", "....K"))
    assert {word for word in words(state) if word.startswith("b4")} == {
        end + piece for end in ("b4b5", "b4c5") for piece in "qrbn"
    }
    after = GAME.play(state, {0: GAME.read("b4c5r")})
    assert after.squares[:5] == "..R.k"
    assert (after.plies, after.quiet) == (1, 0)
    assert GAME.read("b4b5") in range(GAME.actions)
    assert GAME.read("b4b5") not in GAME.legal(state, 0)


def test_a_capture_and_a_pawns_move_are_no_quiet_moves() -> None:
    state = Position(squares("....k", ".....", "....n", ".....", "P...K"), quiet=7)
    quiets = {move: GAME.play(state, {0: GAME.read(move)}).quiet for move in ("e1d1", "a1a2")}
    assert quiets == {"e1d1": 8, "a1a2": 0}


def test_the_search_finds_mates() -> None:
    state = Position(squares("k....", "..Q..", "..K..", ".....", "....."))
    legal = GAME.legal(state, 0)
    mating = {"c4b4", "c4a4", "c4b5", "c4c5", "c4d5", "c4e4"}
    values = dict(zip(map(GAME.word, legal), ahead(state, 1), strict=True))
    found = {word for word, value in values.items() if GAME.outcome(GAME.play(state, {0: GAME.read(word)}))}
    assert found
    for depth in (1, 2, 3):
        best = max(ahead(state, depth))
        assert best == MATE
        chosen = named(GAME, f"minimax:{depth}")((state, 0), legal)
        wins = {GAME.word(move) for move, p in zip(legal, chosen, strict=True) if p}
        assert wins <= mating
        assert all(GAME.outcome(GAME.play(state, {0: GAME.read(word)})) == (1.0, -1.0) for word in wins)


def ahead(state: Position, depth: int) -> list[int]:
    legal = GAME.legal(state, state.mover)
    by_word = {GAME.word(move): move for move in legal}
    encoded = [encode(word) for word in by_word]
    return look_ahead(state.board, state.side, depth, encoded)


def encode(word: str) -> int:
    """As the engine has it."""
    start, end = (5 * (5 - int(place[1])) + "abcde".index(place[0]) for place in (word[:2], word[2:4]))
    return (25 * start + end) * 7 + (".pnbrq".index(word[4]) if len(word) == 5 else 0)


def test_a_piece_that_is_free_is_taken() -> None:
    state = Position(squares("k...q", ".....", ".....", ".....", "K...R"))
    for depth in (1, 2, 3):
        chosen = named(GAME, f"minimax:{depth}")((state, 0), GAME.legal(state, 0))
        moves = [GAME.word(m) for m, p in zip(GAME.legal(state, 0), chosen, strict=True) if p]
        assert moves == ["e1e5"]


def test_who_looks_further_does_not_lose() -> None:
    source, earned = random.Random(0), []
    players = [named(GAME, "minimax:3"), named(GAME, "random")]
    for number in range(6):
        state, strong = GAME.start(), number % 2
        while GAME.to_move(state):
            player = players[state.mover != strong]
            state = GAME.play(state, {state.mover: choose(GAME, player, state, state.mover, source.random())})
        result = GAME.outcome(state)
        assert result is not None
        earned.append(result[strong])
    assert min(earned) >= 0
    assert sum(earned) >= 4
