"""`ludus/Sudoku-v0`: fill a grid by its rules, a cell or a whole grid at a time."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ludus.envs.actions import action, read_action
from ludus.envs.arguments import as_choice, as_integer, as_number, as_weights
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.errors import ArgumentError
from ludus.envs.puzzles.sudoku.grid import BOXES, Grid, Puzzle, candidates, draw_puzzle, peers, units
from ludus.envs.puzzles.sudoku.scripted import AGENTS
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.tools.content import content_key

REPLIES = ("cell", "grid")
EMPTY_SIGN = "."

_ENTRY = re.compile(r"\s*r([1-9])\s*c([1-9])\s*=\s*([1-9.])\s*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class SudokuState:
    puzzle: Puzzle
    board: Grid


class Sudoku(ChatEnv):
    """Fill a Sudoku of 4×4, 6×6 or 9×9, by one cell a reply or by the whole grid.

    ## Task
    Every row, column and box gets each digit once. A puzzle is a random grid of which cells were emptied as
    long as no second solution arose, so that the rules alone imply every digit, and nothing has to be
    guessed. `task_name` is the givens row by row, with `.` for an empty cell.

    ## Observation
    `Chat`. After `reset`: a system message with the rules and the form of a reply, and a user message with
    the grid. Replying by cells, the grid comes back after every reply, below what was refused, if anything:

        1 . 3 .
        . 4 . 2
        2 . . .
        . 3 2 1
        8 empty.

    A digit is refused only for what can be seen: it stands in the row, column or box already, or the cell is
    given. Whether an entry is the right one is never said.

    ## Actions
    Any text with exactly one `<action>…</action>`, and in it, with `reply="cell"`, one entry: `r1c2=4` for
    row 1, column 2, or `r1c2=.` to clear a cell that was filled. With `reply="grid"` all digits, row by row,
    with or without blanks and line breaks between them.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `right` | how many more of the empty cells hold the digit that the rules imply, as a share | 0.5 |
    | `solved` | 1 when the grid is full and keeps the rules | 0.5 |
    | `refused` | 1 for an entry that is refused, or a grid with other givens | −0.02 |
    | `malformed` | 1 for a reply that is not of the form above | −0.05 |

    `right` is negative when a right digit is cleared or replaced, so that its sum over an episode is the
    share of right digits at the end, whatever way led there. A solved puzzle earns 1, less what was refused.

    ## End of episode
    By cells, the episode terminates when the grid is full, since it is then solved, and truncates after
    `max_turns` replies. A whole grid terminates it at once. `info["success"]` says whether it was solved.

    ## Arguments
    - `size` (4): rows, columns and digits: 4 (boxes of 2×2), 6 (2 rows, 3 columns) or 9 (3×3).
    - `empty` (0.5): the share of cells that are empty, 0.1 to 0.7; fewer where a second solution would arise.
    - `reply` (`"cell"`): or `"grid"`.
    - `max_turns` (None): by default two for each empty cell; 1 with `reply="grid"`, and nothing else.
    - `weights` (None): reward weights to change, by term.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS
    rubric = Rubric({"right": 0.5, "solved": 0.5, "refused": -0.02, "malformed": -0.05}, form=("malformed",))

    def __init__(
        self,
        size: int = 4,
        empty: float = 0.5,
        reply: str = "cell",
        max_turns: int | None = None,
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.size = as_integer("size", size, min(BOXES), max(BOXES))
        if self.size not in BOXES:
            raise ArgumentError(f"size={size}: give one of {', '.join(map(str, BOXES))}")
        self.empty = round(as_number("empty", empty, 0.1, 0.7) * self.size**2)
        self.reply = as_choice("reply", reply, REPLIES)
        by_grid = self.reply == "grid"
        enough = 1 if by_grid else 2 * self.empty
        self.max_turns = as_integer("max_turns", enough if max_turns is None else max_turns, 1, 10**6)
        if by_grid and self.max_turns > 1:
            raise ArgumentError(f"max_turns={max_turns}: a whole grid is one reply; choose reply='cell'")
        self.rubric = replace(self.rubric, weights=as_weights(weights, self.rubric.weights))

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"size": tuple(BOXES), "empty": (0.3, 0.5, 0.65)}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        puzzle = draw_puzzle(rng, self.size, self.empty)
        height, width = BOXES[self.size]
        rules = (
            f"Sudoku. Every row, column and box of {height} rows and {width} columns has each digit from 1 "
            f"to {self.size} once; {EMPTY_SIGN} is an empty cell. {self._how}"
        )
        state = SudokuState(puzzle, puzzle.givens)
        return Start([system(rules), user(self._scene(state))], _signs(puzzle.givens), state)

    def respond(self, state: SudokuState, text: str) -> Outcome:
        given, complaint = read_action(text)
        if given is None:
            return self._malformed(state, complaint)
        return self._fill(state, given) if self.reply == "grid" else self._enter(state, given)

    def anchor(self, state: SudokuState) -> int:
        return content_key(state.board)

    def expected(self, state: SudokuState) -> str:
        return _signs(state.puzzle.solution)

    def unfinished(self, state: SudokuState) -> str:
        board, solution = state.board, state.puzzle.solution
        wrong = sum(digit not in (0, right) for digit, right in zip(board, solution, strict=True))
        return f"{board.count(0)} cells are empty, {wrong} are wrong"

    def _enter(self, state: SudokuState, given: str) -> Outcome:
        """One cell."""
        match = _ENTRY.fullmatch(given)
        row, column = (int(match[1]), int(match[2])) if match else (0, 0)
        digit = int(match[3].replace(EMPTY_SIGN, "0")) if match else 0
        if match is None or max(row, column, digit) > self.size:
            return self._malformed(state, "No entry of this grid.")
        cell = (row - 1) * self.size + column - 1
        if refusal := _refusal(state, cell, digit):
            return Outcome(state, [user(f"Refused: {refusal}.\n{self._scene(state)}")], {"refused": 1.0})
        after = replace(state, board=(*state.board[:cell], digit, *state.board[cell + 1 :]))
        # Nothing on the board clashes, so that a full one keeps the rules.
        solved = 0 not in after.board
        terms = {"right": _right(after) - _right(state), "solved": float(solved)}
        return Outcome(after, [user(self._scene(after))], terms, solved, solved)

    def _fill(self, state: SudokuState, given: str) -> Outcome:
        """The whole grid."""
        digits = "".join(given.split())
        if not re.fullmatch(f"[1-{self.size}]{{{self.size**2}}}", digits):
            return self._malformed(state, f"Give {self.size**2} digits from 1 to {self.size}.")
        after = replace(state, board=tuple(map(int, digits)))
        wrong = _wrong(after)
        if any(map(_differs, state.puzzle.givens, after.board)):
            return Outcome(state, [user(wrong)], {"refused": 1.0}, True, failure=wrong)
        terms = {"right": _right(after), "solved": float(not wrong)}
        return Outcome(after, [user(wrong or "Solved.")], terms, True, not wrong, wrong)

    def _malformed(self, state: SudokuState, complaint: str) -> Outcome:
        terms = {"malformed": 1.0}
        if self.reply == "grid":
            return Outcome(state, [user(complaint)], terms, True, failure=complaint)
        return Outcome(state, [user(f"{complaint} {self._how}\n{self._scene(state)}")], terms)

    @property
    def _how(self) -> str:
        if self.reply == "grid":
            return f"Reply with the whole grid, row by row, in {action()}."
        return (
            f"Reply with one entry, such as {action('r1c2=3')} for row 1, column 2; "
            f"r1c2={EMPTY_SIGN} clears that cell."
        )

    def _scene(self, state: SudokuState) -> str:
        size = self.size
        signs = _signs(state.board)
        lines = [" ".join(signs[at : at + size]) for at in range(0, size * size, size)]
        left = state.board.count(0)
        return "\n".join([*lines, f"{left} empty." if left else "Solved."])


def _signs(grid: Grid) -> str:
    return "".join(str(digit) if digit else EMPTY_SIGN for digit in grid)


def _differs(given: int, digit: int) -> bool:
    return given not in (0, digit)


def _right(state: SudokuState) -> float:
    """The share of the empty cells that hold their digit."""
    puzzle = state.puzzle
    cells = [cell for cell, digit in enumerate(puzzle.givens) if not digit]
    return sum(state.board[cell] == puzzle.solution[cell] for cell in cells) / len(cells)


def _refusal(state: SudokuState, cell: int, digit: int) -> str:
    """Why a digit cannot be entered in a cell; empty if it can."""
    puzzle = state.puzzle
    if puzzle.givens[cell]:
        return "this cell is given"
    if digit and digit not in candidates(puzzle.size, state.board, cell):
        return f"{_clash(puzzle.size, state.board, cell, digit)} has {digit} already"
    return ""


def _clash(size: int, board: Grid, cell: int, digit: int) -> str:
    """The first unit of a cell in which another has the digit."""
    in_units = units(size)
    other = next(other for other in peers(size)[cell] if board[other] == digit)
    shared = [a == b for a, b in zip(in_units[cell], in_units[other], strict=True)].index(True)
    return ("its row", "its column", "its box")[shared]


def _wrong(state: SudokuState) -> str:
    """What is wrong with a full grid; empty if it is the solution."""
    size, board = state.puzzle.size, state.board
    for cell, (given, digit) in enumerate(zip(state.puzzle.givens, board, strict=True)):
        row, column = divmod(cell, size)
        if _differs(given, digit):
            return f"Wrong: row {row + 1}, column {column + 1} was given as {given}."
        if digit not in candidates(size, board, cell):
            unit = _clash(size, board, cell, digit)
            return f"Wrong: row {row + 1}, column {column + 1} is {digit}, and {unit} has {digit} already."
    return ""
