"""`ludus/Maze-v0`: find the way to a goal, by a map, by what is near, or by coordinates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_choice, as_integer, as_weights
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.grid.maze import LARGEST, SMALLEST
from ludus.envs.grid.walking import board_text, field_of_view, how_to_move, read_moves
from ludus.envs.puzzles.maze.ground import Ground, draw_ground
from ludus.envs.puzzles.maze.scripted import AGENTS
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.tools.wording import counted

VIEWS = ("map", "local", "coordinates")
SIGNS = "#.GA"
"""Wall, floor, goal, agent."""


@dataclass(frozen=True, slots=True)
class MazeState:
    ground: Ground
    cell: int
    """Where the agent is."""


class Maze(ChatEnv):
    """Walk through a maze to a goal, seeing a map, the cells around, or coordinates alone.

    ## Task
    The mazes are those of Pac-Man: mirror-symmetric, corridors one cell wide, loops, no dead ends, every cell
    reachable. The goal lies anywhere, and the agent begins at least half as far from it as one can be. With a
    map the way can be planned; by the cells around the goal has to be found first; by coordinates one knows
    where it lies, but not which way leads there. `task_name` is the map at the start.

    ## Observation
    `Chat`. After `reset`: a system message with the signs and the form of a reply; then, in a user message
    each turn, the view and the directions that are open. The map, here of 7 × 7 cells:

        # # # # # # #
        # . . . . G #
        # . # . # . #
        # . # . # . #
        # . # . # . #
        # A . . . . #
        # # # # # # #
        open: up right

    `#` is a wall, `.` floor, `G` the goal, `A` the agent. With `view="local"` the same of the square of
    `2 radius + 1` cells around the agent, so that the goal is seen when it is near. With
    `view="coordinates"`:

        You are at row 6, column 2. The goal is at row 2, column 6.
        open: up right

    ## Actions
    Any text with exactly one `<action>…</action>`, and in it 1 to `plan_limit` of the words `up`, `right`,
    `down`, `left`, separated by blanks or commas. Moves are played in order until the goal is reached or the
    next one would run into a wall.

    ## Rewards
    The sum over `info["reward_terms"]` of each value times its weight:

    | term | value | weight |
    |---|---|---|
    | `goal` | 1 when the goal is reached | 1 |
    | `closer` | by how much the way to the goal became shorter, as a share of the way from the start | 0 |
    | `illegal` | 1 when a move runs into a wall; it and those after it are not played | −0.05 |
    | `malformed` | 1 for a reply that is not of the form above | −0.05 |

    `closer` is negative for moves away from the goal, and comes to 1 over an episode that reaches it.

    ## End of episode
    Terminates at the goal; truncates after `max_turns` replies. `info["success"]` is then there.

    ## Arguments
    - `size` (7): rows, and columns, of the maze with its border, 7 to 63.
    - `view` (`"map"`): or `"local"`, or `"coordinates"`.
    - `radius` (2): of the local view, 1 to 10.
    - `plan_limit` (4): most moves in a reply, 1 to 1000.
    - `max_turns` (None): by default four for each row.
    - `weights` (None): reward weights to change, by term.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS
    rubric = Rubric(
        {"goal": 1.0, "closer": 0.0, "illegal": -0.05, "malformed": -0.05}, form=("malformed", "illegal")
    )

    def __init__(
        self,
        size: int = 7,
        view: str = "map",
        radius: int = 2,
        plan_limit: int = 4,
        max_turns: int | None = None,
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.size = as_integer("size", size, SMALLEST, LARGEST)
        self.view = as_choice("view", view, VIEWS)
        self.radius = as_integer("radius", radius, 1, 10)
        self.plan_limit = as_integer("plan_limit", plan_limit, 1, 1000)
        self.max_turns = as_integer("max_turns", 4 * self.size if max_turns is None else max_turns, 1, 10**6)
        self.rubric = replace(self.rubric, weights=as_weights(weights, self.rubric.weights))

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"size": (7, 9, 11, 15, 21)}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        ground = draw_ground(rng, self.size)
        state = MazeState(ground, ground.start)
        signs = "" if self.view == "coordinates" else " # wall, . floor, G goal, A you."
        seen = " You see the cells around you." if self.view == "local" else ""
        rules = f"A maze.{signs}{seen} Go to the goal. {how_to_move(self.plan_limit)}."
        return Start([system(rules), user(self._scene(state))], _map(state), state)

    def respond(self, state: MazeState, text: str) -> Outcome:
        moves, complaint = read_moves(text, self.plan_limit)
        if complaint:
            message = user(f"{complaint} {how_to_move(self.plan_limit)}.\n{self._scene(state)}")
            return Outcome(state, [message], {"malformed": 1.0})
        ground, cell = state.ground, state.cell
        note = ""
        for move in moves:
            there = ground.ways(cell).get(move)
            if there is None:
                note = f"Wall: cannot go {move}.\n"
                break
            cell = there
            if cell == ground.goal:
                break
        after = MazeState(ground, cell)
        reached = cell == ground.goal
        nearer = ground.distances[state.cell] - ground.distances[cell]
        terms = {
            "goal": float(reached),
            "closer": nearer / ground.distances[ground.start],
            "illegal": float(bool(note)),
        }
        said = "You have reached the goal." if reached else f"{note}{self._scene(after)}"
        return Outcome(after, [user(said)], terms, reached, reached)

    def anchor(self, state: MazeState) -> int:
        return state.cell

    def way(self) -> list[str]:
        """The fewest moves to the goal from here."""
        state: MazeState = self._state
        return state.ground.shortest_way(state.cell)

    def expected(self, state: MazeState) -> str:
        return " ".join(state.ground.shortest_way(state.ground.start))

    def unfinished(self, state: MazeState) -> str:
        return f"the goal is {counted(state.ground.distances[state.cell], 'move')} away"

    def _scene(self, state: MazeState) -> str:
        """What is seen, and which directions are open."""
        ground, cell = state.ground, state.cell
        if self.view == "map":
            seen = _map(state)
        elif self.view == "local":
            seen = board_text(field_of_view(_drawn(state), cell, self.radius), SIGNS)
        else:
            (row, column), (to_row, to_column) = (divmod(place, self.size) for place in (cell, ground.goal))
            seen = (
                f"You are at row {row + 1}, column {column + 1}. "
                f"The goal is at row {to_row + 1}, column {to_column + 1}."
            )
        return f"{seen}\nopen: {' '.join(ground.ways(cell))}"


def _map(state: MazeState) -> str:
    return board_text(_drawn(state), SIGNS)


def _drawn(state: MazeState) -> np.ndarray:
    """The cells as numbers of `SIGNS`, uint8 (rows, columns)."""
    cells = state.ground.cells.copy()
    cells.flat[state.ground.goal] = SIGNS.index("G")
    cells.flat[state.cell] = SIGNS.index("A")
    return cells
