"""`ludus/PacManChat-v0`: Pac-Man in words, over several turns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import gymnasium
import numpy as np

from ludus.envs.arguments import as_choice, as_integer, takes_arguments_of
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import Message, system, text_part, user
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.chat.scripted import CHAT_AGENTS
from ludus.envs.grid.pacman.chat.text import (
    EMPTY_SIGN,
    GHOST_SIGNS,
    HARMLESS_SIGN,
    LOST_SIGN,
    PACMAN_SIGN,
    PELLET_SIGN,
    POWER_SIGN,
    WALL_SIGN,
    cell_signs,
    open_moves,
)
from ludus.envs.grid.pacman.game import EXPECTED, RUBRIC, Game, Games, failure
from ludus.envs.grid.pacman.render import GHOST_COLOURS, ansi_frame, rgb_frame, sight
from ludus.envs.grid.walking import DIRECTIONS, board_text, field_of_view, how_to_move, read_moves
from ludus.envs.picture import OBSERVATIONS, chat_space, picture_part
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent

_MOVES = {name: index for index, name in enumerate(DIRECTIONS)}


@dataclass(frozen=True, slots=True)
class PacManState:
    """A game between two replies: the two rows that `rules` describes, as bytes."""

    grid: bytes
    state: bytes
    passed: tuple["PacManState", ...] = ()
    """What the last reply's moves passed through on the way here, for pictures of each move."""


class PacManChat(ChatEnv):
    """Eat every pellet of a maze and keep away from the ghosts, in words.

    ## Task
    The game of `ludus/PacMan-v0`, with the same rules: the page of `PacMan` tells about ghosts and power
    pellets. Each turn the agent sees the board as text and replies with one move or a short plan of moves.
    Ghosts move once for every move that is played.

    ## Observation
    First a system message with the signs and the form of a reply; then, in a user message each turn, the
    board and one line about it:

        # # # # # # #
        # o . C . . #
        # . # . # . #
        # . . . . . #
        # . # . # . #
        # . . P . o #
        # # # # # # #
        20 left, open: up right left

    One sign a cell, with spaces between, so that most tokenizers give each cell one token: `#` wall, `.`
    pellet, `o` power pellet, `_` empty, `P` Pac-Man (`X` where he was caught), `C` `A` `T` `S` the chaser,
    the ambusher, the patroller and the shy ghost, `f` a harmless ghost. The line says how much is left to
    eat, which directions have no wall, and for how many moves ghosts are frightened still. With `view=r`
    the board is the square of `2r + 1` cells around Pac-Man. As a picture (`ludus/PacManVision-v0`) the board
    is an image, a PNG in a part of the message's content, before the line.

    `info["task"]` names the start by its content.

    ## Actions
    Any text with exactly one `<action>…</action>`, and in it 1 to `plan_limit` of the words `up`, `right`,
    `down`, `left`, separated by blanks or commas. Moves are played in order until the game ends or the next
    one would run into a wall.

    ## Rewards
    The sum over `info["reward_terms"]` of each count times its weight:

    | term | weight | counts, of this turn |
    |---|---|---|
    | `pellet` | 1 | pellets eaten |
    | `power` | 5 | power pellets eaten |
    | `ghost` | 10 | ghosts eaten |
    | `caught` | -10 | 1 when a ghost catches Pac-Man |
    | `cleared` | 20 | 1 when nothing is left to eat |
    | `malformed` | -0.5 | 1 when the reply is not of the form above; no move is played |
    | `illegal` | -0.5 | 1 when a move runs into a wall; it and those after it are not played |

    Malformed and illegal replies are answered with what was wrong.

    ## End of episode
    Terminates when Pac-Man is caught or has cleared the maze; truncates after `max_turns` turns.
    `info["success"]` is then there, and says whether the maze was cleared.

    ## Arguments
    - `rows`, `columns`: the maze's size, 7 to 63 each (default 7 by 7).
    - `layout`: instead of a maze from the seed, a named or drawn one, as in `PacMan`.
    - `ghosts`: how many, 0 to 4, or their names (default 1, the chaser).
    - `ghost_speed`: cells per move, 0 to 1 (default 0.5).
    - `power_pellets`: how many corners have one, 0 to 4 (default 2).
    - `frightened_steps`: in moves (default 10).
    - `view`: radius of a partial view (default: the whole board).
    - `plan_limit`: most moves in a reply (default 4).
    - `max_turns`: default 25.
    - `observation`: `text` (the default), `picture` (the board as an image in its place), or `both`.
    - `pixels`: of a cell's side in that picture, 12 to 64 (default 24).
    - `render_mode`: `ansi` (colours for a terminal), `rgb_array`, or `rgb_array_list` (a picture of every
      move of the last reply).

    ## Version history
    - v0: first version.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (gymnasium declares it so)
        "render_modes": ["ansi", "rgb_array", "rgb_array_list"],
        "render_fps": 4,
    }
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = CHAT_AGENTS
    rubric = Rubric({**RUBRIC.weights, "malformed": -0.5, "illegal": -0.5}, form=("malformed", "illegal"))

    @takes_arguments_of(
        Game, "max_steps", rows=7, columns=7, ghosts=1, ghost_speed=0.5, power_pellets=2, frightened_steps=10
    )
    def __init__(
        self,
        *,
        plan_limit: int = 4,
        max_turns: int = 25,
        observation: str = "text",
        pixels: int = 24,
        render_mode: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(render_mode)
        self.observation = as_choice("observation", observation, OBSERVATIONS)
        self.pixels = as_integer("pixels", pixels, 12, 64)
        self.plan_limit = as_integer("plan_limit", plan_limit, 1, 1000)
        self.max_turns = as_integer("max_turns", max_turns, 1, 10**6)
        self.game = Game(max_steps=self.max_turns * self.plan_limit, **arguments)
        self._no_terms = dict.fromkeys(self.rubric.weights, 0.0)
        self._signs = cell_signs(self.game)
        self._how = how_to_move(self.plan_limit)
        if observation != "text":
            rows, columns = self.game.view_shape
            self.observation_space = chat_space(rows * self.pixels, columns * self.pixels)

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"rows": (7, 9, 11), "columns": (7, 9, 11), "ghosts": (1, 2, 3)}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        games = Games(self.game, 1)
        games.streams[0] = rng.integers(2**63)
        everybody = np.ones(1, np.bool_)
        games.begin(everybody, 0, 1)
        state = PacManState(games.grids.tobytes(), games.states.tobytes())
        name = f"pacman-{self.game.rows}x{self.game.columns}-{games.codes(everybody).item():016x}"
        return Start([system(self._rules_text()), self._scene(state)], name, state)

    def respond(self, state: PacManState, text: str) -> Outcome:
        moves, complaint = read_moves(text, self.plan_limit)
        if complaint:
            message = self._scene(state, f"{complaint} {self._how}.\n")
            same = PacManState(state.grid, state.state)
            return Outcome(same, [message], {**self._no_terms, "malformed": 1.0})
        return self._play(state, [_MOVES[name] for name in moves])

    def render(self) -> Any:
        """The board as it is: `ansi`, text with colours; `rgb_array`, uint8 (height, width, 3);
        `rgb_array_list`, one such picture for each move of the last reply."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                f"render() needs a mode: make the environment with one of {self.metadata['render_modes']}"
            )
            return None
        state: PacManState = self._state
        if self.render_mode == "rgb_array_list":
            return [self._drawn(board, rgb_frame) for board in (*state.passed, state)]
        return self._drawn(state, rgb_frame if self.render_mode == "rgb_array" else ansi_frame)

    def _drawn(self, state: PacManState, draw: Callable[..., Any]) -> Any:
        games = self._games_at(state)
        return draw(self.game, games.grids[0], games.states[0])

    def _play(self, before: PacManState, moves: Sequence[int]) -> Outcome:
        """Play the moves until one would run into a wall or the game ends."""
        games = self._games_at(before)
        totals = np.zeros(len(rules.TERMS))
        note, illegal = "", 0.0
        boards: list[PacManState] = []
        for move in moves:
            pacman = games.states.item(rules.PACMAN)
            if DIRECTIONS[move] not in open_moves(games.grids[0].tobytes(), pacman, self.game.columns):
                note, illegal = f"Wall: cannot go {DIRECTIONS[move]}.\n", 1.0
                break
            games.advance(np.array([move]), np.zeros(1, np.bool_), 0, 1)
            totals += games.terms[:, 0]
            boards.append(PacManState(games.grids.tobytes(), games.states.tobytes()))
            if games.terminated[0]:
                break
        *passed, last = boards or [before]
        after = PacManState(last.grid, last.state, tuple(passed))
        counts = {
            **self._no_terms,
            **dict(zip(rules.TERMS, totals.tolist(), strict=True)),
            "illegal": illegal,
        }
        message = self._scene(after, note)
        cleared = counts["cleared"] > 0
        why = self.unfinished(after, counts["caught"] > 0) if games.terminated[0] else ""
        return Outcome(after, [message], counts, games.terminated.item(), cleared, why)

    def anchor(self, state: PacManState) -> int:
        return int(np.frombuffer(state.state, np.int64)[rules.ANCHOR])

    def expected(self, state: PacManState) -> str:
        return EXPECTED

    def unfinished(self, state: PacManState, caught: bool = False) -> str:
        return failure(int(np.frombuffer(state.state, np.int64)[rules.PELLETS]), caught)

    def _games_at(self, state: PacManState) -> Games:
        games = Games(self.game, 1)
        games.grids[0] = np.frombuffer(state.grid, np.uint8)
        games.states[0] = np.frombuffer(state.state, np.int64)
        return games

    def _rules_text(self) -> str:
        kinds = dict.fromkeys(self.game.ghost_kinds)
        legend = self._colours(kinds) if self.observation == "picture" else self._legend(kinds)
        return (
            f"Pac-Man. {', '.join(legend)}. Eat all pellets"
            f"{', keep away from ghosts' if kinds else ''}. {self._how}."
        )

    def _legend(self, kinds: Iterable[str]) -> list[str]:
        """What the signs of the text are."""
        legend = [
            f"{PACMAN_SIGN} you",
            f"{WALL_SIGN} wall",
            f"{PELLET_SIGN} pellet",
            f"{POWER_SIGN} power pellet",
            f"{EMPTY_SIGN} empty",
            *(f"{GHOST_SIGNS[kind]} {kind} ghost" for kind in kinds),
        ]
        return [*legend, f"{HARMLESS_SIGN} harmless ghost"] if kinds else legend

    def _colours(self, kinds: Iterable[str]) -> list[str]:
        """What the colours of the picture are."""
        ghosts = [f"{GHOST_COLOURS[kind]} the {kind} ghost" for kind in kinds]
        legend = ["Yellow is you", "dark blue wall", "a dot a pellet", "a large one a power pellet", *ghosts]
        return [*legend, "bright blue, white or dimmed a harmless ghost"] if kinds else legend

    def _scene(self, state: PacManState, note: str = "") -> Message:
        """What there is to say of the last reply, the board, and one line about it."""
        numbers = np.frombuffer(state.state, np.int64)
        pacman, columns = int(numbers[rules.PACMAN]), self.game.columns
        grid = np.frombuffer(state.grid, np.uint8).reshape(self.game.rows, columns)
        seen = grid if self.game.view is None else field_of_view(grid, pacman, self.game.view)
        board = board_text(seen, self._signs)
        if numbers[rules.PELLETS] == 0:
            line = "Cleared!"
        elif LOST_SIGN in board:
            line = "Caught."
        else:
            line = f"{numbers[rules.PELLETS]} left, open: {' '.join(open_moves(state.grid, pacman, columns))}"
            if numbers[rules.FRIGHT]:
                line += f", ghosts frightened for {numbers[rules.FRIGHT]}"
        if self.observation == "text":
            return user(f"{note}{board}\n{line}")
        picture = self._drawn(state, partial(sight, pixels=self.pixels))
        words = f"{board}\n{line}" if self.observation == "both" else line
        return user([picture_part(picture), text_part(note + words)])
