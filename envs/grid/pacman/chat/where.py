"""`ludus/PacManWhere-v0`: where is Pac-Man? A question about a picture, in one turn."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np

from ludus.envs.actions import action, read_action
from ludus.envs.arguments import as_choice, as_integer
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import Chat, content_images, content_text, system, text_part, user
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.chat.text import PACMAN_SIGN, cell_signs
from ludus.envs.grid.pacman.game import Game, Games
from ludus.envs.grid.pacman.render import read_sight, sight
from ludus.envs.grid.walking import board_text
from ludus.envs.picture import OBSERVATIONS, chat_space, from_url, picture_part
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent, Silent

_TWO_NUMBERS = re.compile(r"\s*([0-9]{1,3})[\s,]+([0-9]{1,3})\s*")


class _Random(ScriptedAgent):
    """Any cell."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self._rng = np.random.default_rng(seed)

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        game: Game = self.env.unwrapped.game  # type: ignore[attr-defined]
        return action(1 + self._rng.integers(game.rows), 1 + self._rng.integers(game.columns))


class _Oracle(ScriptedAgent):
    """Looks."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        game: Game = self.env.unwrapped.game  # type: ignore[attr-defined]
        urls = content_images(observation[-1])
        if urls:
            is_there = read_sight(game, from_url(*urls)) & rules.PACMAN_BIT > 0
        else:
            lines = content_text(observation[-1]).splitlines()[: game.rows]
            is_there = np.array([line.split() for line in lines]) == PACMAN_SIGN
        row, column = divmod(int(is_there.argmax()), game.columns)
        return action(row + 1, column + 1)


class _Everywhere(ScriptedAgent):
    """A cheater: names every cell."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        game: Game = self.env.unwrapped.game  # type: ignore[attr-defined]
        rows, columns = range(1, game.rows + 1), range(1, game.columns + 1)
        return action(*(f"{row} {column}" for row in rows for column in columns))


class _Boaster(ScriptedAgent):
    """A cheater: says that it is right."""

    def act(self, observation: Chat, info: dict[str, Any]) -> str:
        return f"Right! {action('where he is')}"


class PacManWhere(ChatEnv):
    """Say in which row and column of a picture Pac-Man is.

    ## Task
    A picture of a maze of `ludus/PacMan-v0`, in which Pac-Man stands in any cell without a wall and half of
    the pellets have been eaten. What is asked is where he is: the least that a model must see to play.

    ## Observation
    A system message that says what the reply is; then a user message whose content is an image, a PNG in a
    data URL, and the text `Where is Pac-Man?`. After the reply, a user message says what was right.

    ## Actions
    Any text with exactly one `<action>…</action>`, and in it his row and column, as `<action>3 5</action>`.
    Both count from 1, from the upper left.

    ## Rewards
    The sum over `info["reward_terms"]` of each value times its weight:

    | term | weight | value |
    |---|---|---|
    | `cell` | 0.6 | 1 if row and column are right |
    | `row` | 0.2 | 1 if the row is |
    | `column` | 0.2 | 1 if the column is |
    | `malformed` | -0.1 | 1 if there is no such action in the reply |

    ## End of episode
    Terminates with the reply. `info["success"]` says whether row and column were right.

    ## Arguments
    - `rows`, `columns`: the maze's size, 7 to 63 each (default 7 by 7).
    - `ghosts`: how many, 0 to 4, or their names (default 1, the chaser).
    - `observation`: `picture` (the default), `text` (the board as in `ludus/PacManChat-v0` in its place), or
      `both`.
    - `pixels`: of a cell's side, 12 to 64 (default 24).
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    rubric = Rubric({"cell": 0.6, "row": 0.2, "column": 0.2, "malformed": -0.1}, form=("malformed",))
    max_turns = 1
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = {
        "null": Silent,
        "random": _Random,
        "oracle": _Oracle,
        "cheater-everywhere": _Everywhere,
        "cheater-boaster": _Boaster,
    }

    def __init__(
        self,
        rows: int = 7,
        columns: int = 7,
        ghosts: int | Sequence[str] = 1,
        observation: str = "picture",
        pixels: int = 24,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.game = Game(rows=rows, columns=columns, ghosts=ghosts)
        self.observation = as_choice("observation", observation, OBSERVATIONS)
        self.pixels = as_integer("pixels", pixels, 12, 64)
        if observation != "text":
            self.observation_space = chat_space(self.game.rows * pixels, self.game.columns * pixels)

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"rows": (7, 9, 11), "columns": (7, 9, 11), "ghosts": (0, 1, 4)}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        games = Games(self.game, 1)
        games.streams[0] = rng.integers(2**63)
        games.begin(np.ones(1, np.bool_), 0, 1)
        grid, state = games.grids[0], games.states[0]
        grid &= ~np.uint8(rules.PACMAN_BIT)
        is_eaten = (grid & rules.GROUND_BITS == rules.PELLET) & (rng.random(grid.size) < 0.5)
        grid[is_eaten] -= rules.PELLET - rules.FLOOR
        free = np.flatnonzero((grid & rules.GROUND_BITS != rules.WALL) & (grid < rules.GHOST_BIT))
        state[rules.PACMAN], state[rules.FACING] = rng.choice(free), rng.integers(4)
        grid[state[rules.PACMAN]] = rules.FLOOR | rules.PACMAN_BIT
        row, column = divmod(int(state[rules.PACMAN]), self.game.columns)
        cells = grid.reshape(self.game.rows, self.game.columns)
        board = board_text(cells, cell_signs(self.game))
        asked = "Where is Pac-Man?"
        if self.observation != "picture":
            asked = f"{board}\n{asked}"
        shown = picture_part(sight(self.game, grid, state, self.pixels))
        content = asked if self.observation == "text" else [shown, text_part(asked)]
        how = f"Say in which row and column Pac-Man is, from 1 from the upper left, like {action(3, 5)}."
        if self.observation != "picture":
            how = f"{PACMAN_SIGN} is Pac-Man. {how}"
        return Start([system(how), user(content)], f"pacman-where:{board}", (row + 1, column + 1))

    def respond(self, state: tuple[int, int], text: str) -> Outcome:
        found, complaint = read_action(text)
        words = _TWO_NUMBERS.fullmatch(found or "")
        if words is None:
            said = f"{complaint or 'That is no row and column.'} He is in {self.expected(state)}."
            return Outcome(state, [user(said)], {"malformed": 1.0}, True, False, "no row and column")
        given = (int(words[1]), int(words[2]))
        row, column = (float(mine == its) for mine, its in zip(given, state, strict=True))
        right = given == state
        said = "Right." if right else f"Wrong: he is in {self.expected(state)}."
        terms = {"cell": float(right), "row": row, "column": column}
        failure = "" if right else f"answered row {given[0]}, column {given[1]}"
        return Outcome(state, [user(said)], terms, True, right, failure)

    def expected(self, state: tuple[int, int]) -> str:
        return f"row {state[0]}, column {state[1]}"
