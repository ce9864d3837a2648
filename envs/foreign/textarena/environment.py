"""`ludus/TextArena-v0`: one seat of a game of TextArena."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_integer
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import user
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.foreign.library import Library, LibraryError, as_name
from ludus.envs.foreign.textarena.scripted import AGENTS
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent

LIBRARY = Library("textarena", str(Path(__file__).with_name("guest.py")))
MOVE_S = 10
"""Seconds of processor time in which a game must take a move."""
MOST_CHARACTERS = 20_000
"""Of a move."""
ERROR_LIMIT = 3
"""Replies that the game cannot take, after which it is lost."""
TRIES = 20
"""Seeds that are tried for a start: with some, the game is over before the agent is to move."""

Opponent = Callable[[str], str]
"""From all that a seat has seen to its move. TextArena's agents are such functions."""


@dataclass(frozen=True, slots=True)
class Table:
    """A game in play, from one seat."""

    seed: int
    seat: int
    moves: tuple[str, ...] = ()
    """Of all players, in turn."""
    errors: int = 0
    """Replies so far that the game could not take."""


class TextArena(ChatEnv):
    """Play one seat of a game of TextArena against others.

    ## Task
    A game of TextArena for one or several players. How it begins follows from the seed, and so does all that
    is drawn in it: every game has global random generators of its own. `task_name` is the game, the seat and
    the game's seed.

    ## Observation
    `Chat`. After `reset` and after each move: one user message with what the game and the other players have
    said since to the agent's seat, each line with who says it: `[GAME]`, `[Player 1]`.

    ## Actions
    `Reply`: a text, the move, in the form that the game asks for, most often in brackets: `[4]`. What a reply
    says beside it is shown to the other players, as TextArena does.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `outcome` | what the game gives the agent's seat at its end, for most games −1, 0 or 1 | 1 |
    | `illegal` | 1 for a move that the game refuses | −0.1 |
    | `malformed` | 1 for a reply without a text | −0.1 |

    ## End of episode
    Terminates when the game is over, or after 3 replies that hold no text or that break the game, with the
    `outcome` −1, in a game for one player 0. `max_turns` replies truncate. `info["success"]` is whether
    nobody got more than the agent and it got more than 0; in a game for one player, whether it got 1 or more.

    ## Arguments
    - `game` (`"TicTacToe-v0"`): its id in TextArena.
    - `seat` (0): the number of the agent's player, or `"random"`.
    - `opponent` (`"random"`): who plays the other seats: any move that the game takes; or a function from all
      that a seat has seen to its move, such as an agent of TextArena.
    - `max_turns` (100): replies of an episode at most.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS
    rubric = Rubric({"outcome": 1.0, "illegal": -0.1, "malformed": -0.1}, form=("malformed",))

    def __init__(
        self,
        game: str = "TicTacToe-v0",
        seat: int | str = 0,
        opponent: str | Opponent = "random",
        max_turns: int = 100,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        self.max_turns = as_integer("max_turns", max_turns, 1, 10_000)
        if opponent != "random" and not callable(opponent):
            raise ArgumentError(
                f"opponent={opponent!r}: give 'random', or a function from what a seat has seen to its move"
            )
        self.opponent = opponent
        LIBRARY.require()
        self.game = as_name("game", game, LIBRARY.names())
        self.players = _players(self.game)
        self.seat = seat if seat == "random" else _as_seat(self.game, seat, self.players)

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        for _ in range(TRIES):
            seed = int(rng.integers(2**31))
            seat = int(rng.integers(self.players)) if self.seat == "random" else int(self.seat)
            table, position = self._others_move(Table(seed, seat))
            if position["turn"] == seat:
                name = f"{self.game} seat {seat} seed {seed}"
                return Start([user(position["text"])], name, table)
        raise EnvironmentFault(f"{self.game}: over before seat {seat} is to move, with {TRIES} seeds")

    def respond(self, state: Table, text: str) -> Outcome:
        if not text.strip():
            return self._in_error(state, {"malformed": 1.0}, "There is no move in the reply: write one.")
        moved = replace(state, moves=(*state.moves, text))
        position = None
        if len(text) <= MOST_CHARACTERS:
            try:
                position = self._position(moved)
            except LibraryError:  # the game raised an exception over the move
                position = None
        if position is None:
            return self._in_error(state, {"illegal": 1.0}, "The game could not take this move: make another.")
        terms = {"illegal": float(position["illegal"])}
        table, position = self._others_move(moved, position)
        said = [user(position["text"] or "The game goes on.")]
        if position["turn"] is not None:
            return Outcome(table, said, terms)
        rewards = position["rewards"]
        own = rewards[state.seat]
        terms["outcome"] = own
        success = own >= 1.0 if self.players == 1 else own > 0 and own >= max(rewards)
        why = "" if success else f"an outcome of {own:g}; {position['reason']}".strip("; ")
        return Outcome(table, said, terms, True, success, why)

    def possible_move(self, draw: int = 0, knowing: bool = False) -> str | None:
        """A move that the game takes from the agent now, found by trying on a copy; another one for another
        `draw`. One who is `knowing` tries what the game keeps to itself first. None if none was found."""
        move: str | None = self._ask("possible", self._state, draw, knowing)
        return move

    @property
    def seat_in_play(self) -> int:
        """The number of the agent's player in the open episode."""
        return int(self._state.seat)

    def _others_move(
        self, table: Table, position: dict[str, Any] | None = None
    ) -> tuple[Table, dict[str, Any]]:
        """The others move until the agent is to move or the game is over; where the game then stands."""
        while True:
            if position is None:
                try:
                    position = self._position(table)
                except LibraryError as error:
                    raise EnvironmentFault(f"{self.game}: the game broke: {error}") from error
            if position is None:
                raise EnvironmentFault(f"{self.game}: no answer within {MOVE_S} s")
            if position["turn"] in (None, table.seat):
                return table, position
            table = replace(table, moves=(*table.moves, self._others_choice(table, position["text"])))
            position = None

    def _others_choice(self, table: Table, text: str) -> str:
        if callable(self.opponent):
            return self.opponent(text)
        # A move that the game refuses, where none was found that it takes: it ends such a game.
        return self._ask("possible", table, 0, False) or "[pass]"

    def _position(self, table: Table) -> dict[str, Any] | None:
        position: dict[str, Any] | None = self._ask("play", table, table.seat)
        return position

    def _ask(self, what: str, table: Table, *arguments: Any) -> Any:
        question = [what, self.game, self.players, table.seed, table.moves, *arguments]
        return LIBRARY.ask(table.seed, question, MOVE_S)

    def _in_error(self, state: Table, terms: dict[str, float], said: str) -> Outcome:
        """The answer to a reply that never reached the game, or that broke it."""
        state = replace(state, errors=state.errors + 1)
        if state.errors < ERROR_LIMIT:
            return Outcome(state, [user(said)], terms)
        terms["outcome"] = 0.0 if self.players == 1 else -1.0
        ended = f"The game is over: {ERROR_LIMIT} replies were no moves."
        return Outcome(state, [user(ended)], terms, True, False, f"{ERROR_LIMIT} replies were no moves")


def _players(game: str) -> int:
    """
    Raises:
        ArgumentError: the game cannot be played here.
    """
    try:
        count = LIBRARY.ask(0, ["players", game], MOVE_S)
    except LibraryError as error:
        raise ArgumentError(f"game={game!r} cannot be played here, without a network: {error}") from None
    if count is None:
        raise ArgumentError(f"game={game!r} cannot be played here: it does not begin within {MOVE_S} s")
    return int(count)


def _as_seat(game: str, given: Any, players: int) -> int:
    if players == 1 and given != 0:
        raise ArgumentError(f"seat={given!r}: {game} has one player, whose seat is 0")
    try:
        return as_integer("seat", given, 0, players - 1)
    except ArgumentError as error:
        raise ArgumentError(f"{error}, or 'random': {game} has {players} players") from None
