"""`ludus/Sudoku-v0`: puzzles have one solution, and only that one is right."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.chat import content_text
from ludus.envs.conformance import check
from ludus.envs.errors import ArgumentError
from ludus.envs.puzzles.sudoku.environment import Sudoku, SudokuState
from ludus.envs.puzzles.sudoku.grid import BOXES, Grid, Puzzle, draw_puzzle, solve

GIVENS = (1, 0, 3, 0, 0, 4, 0, 2, 2, 0, 0, 0, 0, 3, 2, 1)
SOLUTION = (1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1)


def keeps_the_rules(size: int, grid: Sequence[int]) -> bool:
    """Every row, column and box of a full grid has each digit, by its definition."""
    height, width = BOXES[size]
    rows = np.array(grid).reshape(size, size)
    boxes = [
        rows[top : top + height, left : left + width].ravel()
        for top in range(0, size, height)
        for left in range(0, size, width)
    ]
    digits = list(range(1, size + 1))
    return all(sorted(unit.tolist()) == digits for unit in [*rows, *rows.T, *boxes])


def count_solutions(size: int, grid: Sequence[int]) -> int:
    """Without any thought: every digit in the first empty cell."""
    height, width = BOXES[size]
    board = [list(grid[at : at + size]) for at in range(0, size * size, size)]

    def fits(row: int, column: int, digit: int) -> bool:
        top, left = row - row % height, column - column % width
        return (
            digit not in board[row]
            and all(line[column] != digit for line in board)
            and all(digit not in line[left : left + width] for line in board[top : top + height])
        )

    def count() -> int:
        for row in range(size):
            for column in range(size):
                if not board[row][column]:
                    found = 0
                    for digit in range(1, size + 1):
                        if fits(row, column, digit):
                            board[row][column] = digit
                            found += count()
                            board[row][column] = 0
                    return found
        return 1

    return count()


def test_the_puzzle_of_these_tests_has_one_solution() -> None:
    assert keeps_the_rules(4, SOLUTION)
    assert count_solutions(4, GIVENS) == 1
    assert solve(4, GIVENS) == SOLUTION


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), size=st.sampled_from((4, 4, 6, 9)), share=st.floats(0.1, 0.6))
def test_puzzles_have_exactly_one_solution(seed: int, size: int, share: float) -> None:
    empty = round(share * size**2 * (0.75 if size == 9 else 1))
    puzzle = draw_puzzle(np.random.default_rng(seed), size, empty)
    assert puzzle == draw_puzzle(np.random.default_rng(seed), size, empty)
    assert keeps_the_rules(size, puzzle.solution)
    assert all(given in (0, digit) for given, digit in zip(puzzle.givens, puzzle.solution, strict=True))
    assert puzzle.givens.count(0) == empty
    assert count_solutions(size, puzzle.givens) == 1
    assert solve(size, puzzle.givens) == puzzle.solution


@pytest.mark.parametrize("seed", range(10))
def test_as_many_cells_are_emptied_as_can_be(seed: int) -> None:
    puzzle = draw_puzzle(np.random.default_rng(seed), 4, 16)
    assert 10 <= puzzle.givens.count(0) <= 12
    assert count_solutions(4, puzzle.givens) == 1
    for cell, digit in enumerate(puzzle.givens):
        if digit:
            fewer = (*puzzle.givens[:cell], 0, *puzzle.givens[cell + 1 :])
            assert count_solutions(4, fewer) > 1


@settings(max_examples=60)
@given(cells=st.dictionaries(st.integers(0, 15), st.integers(1, 4), max_size=8))
def test_the_solver_finds_a_solution_exactly_where_there_is_one(cells: dict[int, int]) -> None:
    grid = tuple(cells.get(cell, 0) for cell in range(16))
    clash = any(
        grid[a] and grid[a] == grid[b] and (a // 4 == b // 4 or a % 4 == b % 4 or box(a) == box(b))
        for a in range(16)
        for b in range(a)
    )
    found = solve(4, grid)
    assert (found is not None) == (not clash and count_solutions(4, grid) > 0)
    if found is not None:
        assert keeps_the_rules(4, found)
        assert all(given in (0, digit) for given, digit in zip(grid, found, strict=True))


def box(cell: int) -> tuple[int, int]:
    return cell // 8, cell % 4 // 2


def entered(env: Sudoku, board: Grid, *entries: str, solution: Grid = SOLUTION) -> Any:
    """The outcome of the last of some entries."""
    outcome: Any = None
    state = SudokuState(Puzzle(4, GIVENS, solution), board)
    for entry in entries:
        outcome = env.respond(state, f"<action>{entry}</action>")
        state = outcome.state
    return outcome


@settings(max_examples=40)
@given(order=st.permutations([cell for cell, digit in enumerate(GIVENS) if not digit]))
def test_the_right_digits_in_any_order_earn_one(order: list[int]) -> None:
    env = Sudoku()
    state = SudokuState(Puzzle(4, GIVENS, SOLUTION), GIVENS)
    total = 0.0
    for cell in order:
        outcome = env.respond(state, f"<action>r{cell // 4 + 1}c{cell % 4 + 1}={SOLUTION[cell]}</action>")
        state, total = outcome.state, total + env.rubric(outcome.terms)
    assert outcome.success
    assert outcome.terminated
    assert content_text(outcome.messages[0]).endswith("Solved.")
    assert total == pytest.approx(1)


@settings(max_examples=60)
@given(data=st.data())
def test_what_is_earned_on_the_way_is_what_stands_at_the_end(data: Any) -> None:
    entry = st.builds("r{}c{}={}".format, st.integers(1, 4), st.integers(1, 4), st.sampled_from("1234."))
    env = Sudoku()
    state = SudokuState(Puzzle(4, GIVENS, SOLUTION), GIVENS)
    earned = 0.0
    for given_entry in data.draw(st.lists(entry, min_size=10, max_size=40)):
        outcome = env.respond(state, f"<action>{given_entry}</action>")
        earned += outcome.terms.get("right", 0.0)
        state = outcome.state
        cells = [cell for cell, digit in enumerate(GIVENS) if not digit]
        right = sum(state.board[cell] == SOLUTION[cell] for cell in cells)
        assert earned == pytest.approx(right / len(cells))
        assert outcome.success == (state.board == SOLUTION)
        if outcome.terminated:
            break


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (["r1c1=2"], "Refused: this cell is given."),
        (["r1c1=."], "Refused: this cell is given."),
        (["r1c2=3"], "Refused: its row has 3 already."),
        (["r3c3=3"], "Refused: its column has 3 already."),
        (["r3c2=4"], "Refused: its column has 4 already."),
        (["r4c1=3"], "Refused: its row has 3 already."),
        (["r2c3=3"], "Refused: its column has 3 already."),
        (["r1c2=2", "r2c1=2"], "Refused: its box has 2 already."),
        (["r1c4=4", "r1c4=4"], "1 . 3 4\n"),
        (["r1c4=4", "r1c4=."], "1 . 3 .\n. 4 . 2\n2 . . .\n. 3 2 1\n8 empty."),
        (["R1 C2 = 2"], "1 2 3 .\n"),
        (["r5c1=1"], "No entry of this grid. Reply with one entry, such as <action>r1c2=3</action>"),
        (["r1c2=5"], "No entry"),
        (["r1c2=0"], "No entry"),
        (["r1c2"], "No entry"),
        (["r1c2=2 r1c4=4"], "No entry"),
        (["r1c2=2</action><action>r1c4=4"], "2 <action> tags found, give one."),
    ],
)
def test_entries_are_refused_for_what_can_be_seen(entries: list[str], said: str) -> None:
    outcome = entered(Sudoku(), GIVENS, *entries)
    assert content_text(outcome.messages[0]).startswith(said)
    assert outcome.terms.get("refused", 0) == said.startswith("Refused")
    assert outcome.terms.get("malformed", 0) == said.startswith(("No entry", "2 <action>"))


def test_nothing_that_is_said_depends_on_the_solution() -> None:
    other = tuple(1 + digit % 4 for digit in SOLUTION)
    for entry in ("r1c2=2", "r1c4=4", "r3c2=4", "r1c2=.", "r2c1=3", "r1c1=2", "nothing"):
        one, two = (entered(Sudoku(), GIVENS, entry, solution=solution) for solution in (SOLUTION, other))
        assert one.messages == two.messages
        assert one.state.board == two.state.board


def test_an_episode_that_runs_out_says_how_it_stands() -> None:
    env = Sudoku(max_turns=1)
    env.reset(seed=0)
    _, _, terminated, truncated, info = env.step("<action>r9c9=9</action>")
    assert (terminated, truncated, info["success"]) == (False, True, False)
    assert env.verdict.failure.endswith("8 cells are empty, 0 are wrong")
    assert re.fullmatch("[1-4]{16}", env.verdict.expected)


def filled(grid: Sequence[int], between: str = "") -> Any:
    """The outcome of a whole grid."""
    state = SudokuState(Puzzle(4, GIVENS, SOLUTION), GIVENS)
    return Sudoku(reply="grid").respond(state, f"<action>{between.join(map(str, grid))}</action>")


@pytest.mark.parametrize("between", ["", " ", "\n", " \t\n"])
def test_the_solution_is_right_however_it_is_spaced(between: str) -> None:
    outcome = filled(SOLUTION, between)
    assert outcome.success
    assert Sudoku.rubric(outcome.terms) == 1


@settings(max_examples=100)
@given(changes=st.dictionaries(st.integers(0, 15), st.integers(1, 4), min_size=1, max_size=6))
def test_a_whole_grid_is_right_exactly_if_it_is_the_solution(changes: dict[int, int]) -> None:
    grid = tuple(changes.get(cell, digit) for cell, digit in enumerate(SOLUTION))
    outcome = filled(grid)
    assert outcome.terminated
    assert outcome.success == (grid == SOLUTION)
    assert outcome.success == (not outcome.failure)
    kept = all(given in (0, digit) for given, digit in zip(GIVENS, grid, strict=True))
    assert outcome.terms.get("refused", 0) == (not kept)
    assert kept or "right" not in outcome.terms


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ((4, 2, 3, 1, *SOLUTION[4:]), "Wrong: row 1, column 1 was given as 1."),
        ((1, 4, 3, 2, *SOLUTION[4:]), "Wrong: row 1, column 2 is 4, and its column has 4 already."),
        (SOLUTION[:15], "Give 16 digits from 1 to 4."),
        ((*SOLUTION[:15], 0), "Give 16 digits from 1 to 4."),
        ((*SOLUTION[:15], 5), "Give 16 digits from 1 to 4."),
    ],
)
def test_what_is_wrong_with_a_grid_is_said(grid: Sequence[int], said: str) -> None:
    assert content_text(filled(grid).messages[0]) == filled(grid).failure == said


@pytest.mark.parametrize(
    ("size", "reply"),
    [
        (6, "cell"),
        pytest.param(6, "grid", marks=pytest.mark.slow),
        pytest.param(9, "grid", marks=pytest.mark.slow),
    ],
)
def test_conforms_in_other_sizes(size: int, reply: str) -> None:
    report = check(
        "ludus/Sudoku-v0",
        episodes=20,
        only=("rewards", "limits", "malformed replies", "anchors", "scripted agents"),
        size=size,
        reply=reply,
    )
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 5}, "size=5: give one of 4, 6, 9"),
        ({"size": 16}, "size=16: give an integer from 4 to 9"),
        ({"empty": 0.9}, "empty=0.9: give a number from 0.1 to 0.7"),
        ({"reply": "row"}, "reply: 'row' is unknown"),
        ({"reply": "grid", "max_turns": 3}, "max_turns=3: a whole grid is one reply"),
        ({"weights": {"wrong": -1}}, "weights: 'wrong' is unknown"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        Sudoku(**arguments)
