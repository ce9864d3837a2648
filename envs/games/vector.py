"""The vector forms of `ludus/TicTacToe-v0` and `ludus/ConnectFour-v0`: many games at once, compiled."""

import re
import secrets
from abc import abstractmethod
from functools import cache
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from ludus.envs.arguments import as_integer
from ludus.envs.base import stream_of
from ludus.envs.compiled_random import PCG64_SIZE
from ludus.envs.compiled_vector import CompiledVector, Made, Told
from ludus.envs.games import lines
from ludus.envs.games.connect_four.game import ConnectFourChat, Discs
from ludus.envs.games.connect_four.solver import board
from ludus.envs.games.environment import SEATS, GameChat, GameEnv
from ludus.envs.games.luck import uniform
from ludus.envs.games.player import choose
from ludus.envs.games.tic_tac_toe import Marks, TicTacToeChat
from ludus.tools.compiling import compile_once


class Boards:
    """N games in the arrays that `lines` describes. Every method works on rows [low, high) only.

    Args:
        chat: the environment, whose arguments have been checked.
        vector: says how the game is won and how moves are made.
        size: how many games.
    """

    def __init__(self, chat: GameChat, vector: "type[LinesVector]", size: int) -> None:
        # Not the strategy, which may be a closure: a copy of `chat` makes its own from the arguments.
        self._chat, self._game, self._state = chat, chat.game, vector.state
        height, width, _ = self._game.shape
        sized, self._depth = board(height, width), vector.depth(chat.opponent)
        full, bottom, _, self._ways = sized.masks
        self._settings = np.zeros(lines.SETTINGS_SIZE, np.int64)
        self._settings[: lines.ODD + 1] = (
            *(height, width, self._game.actions, vector.run, (1 << height) - 1 if vector.drops else 0),
            *(chat.error_limit, SEATS.index(chat.seat), self._depth, full, bottom, sized.odd),
        )
        rows = range(1) if vector.drops else range(height)[::-1]
        shifts = [(height + 1) * column + row for row in rows for column in range(width)]
        self._places = np.array([1 << shift for shift in shifts])
        weights = chat.rubric.weights
        self._weights = np.array(list(weights.values()))
        self._name = _bytes(str(self._game))
        state = type(self._game.start())
        # As `content_key` writes (state, plays, pending, errors).
        self._prefix = _bytes(f"(={state.__module__}.{state.__qualname__}({vector.opening}")
        self.streams = np.zeros((size, PCG64_SIZE), np.uint64)
        self.states = np.zeros((size, lines.STATE_SIZE), np.int64)
        self.terms = np.zeros((len(weights), size))
        self.rewards = np.zeros(size)
        self.terminated = np.zeros(size, np.bool_)
        self.truncated = np.zeros(size, np.bool_)
        """Never: every game ends."""

    def begin(self, due: np.ndarray, low: int, high: int) -> None:
        """As of `Batch`."""
        settings = (self._settings, self._places, self._ways, self._prefix)
        lines.begin(self.streams, self.states, due, *settings, low, high)
        if self._depth == lines.ELSEWHERE:
            self._reply(due & (self.states[:, lines.SEAT] == 1), low, high)

    def advance(self, actions: np.ndarray, resting: np.ndarray, low: int, high: int) -> None:
        """As of `Batch`."""
        ends = (self._weights, self.terms, self.rewards, self.terminated)
        settings = (self._settings, self._places, self._ways, self._prefix)
        lines.advance(self.states, actions, resting, *settings, *ends, low, high)
        if self._depth == lines.ELSEWHERE:
            moved = ~resting & ~self.terminated & (self.terms[lines.ILLEGAL] == 0)
            self._reply(moved, low, high)

    def _reply(self, due: np.ndarray, low: int, high: int) -> None:
        """Opponents that are not compiled move, one after the other."""
        moves = np.full(len(due), -1)
        for row in range(low, high):
            if due[row]:
                first, second, seat, seed, plays = self.states[row, : lines.PLAYS + 1].tolist()
                number = uniform(seed, plays, 1 - seat)
                state = self._state(first, second)
                moves[row] = choose(self._game, self._chat._strategy, state, 1 - seat, number)
        ends = (self._weights, self.terms, self.rewards, self.terminated)
        lines.reply(self.states, moves, self._settings, self._places, self._prefix, *ends, low, high)

    def look(self, due: np.ndarray, seen: np.ndarray, masks: np.ndarray, low: int, high: int) -> None:
        """Write what is seen, and legal moves, where `due`."""
        lines.look(self.states, due, seen, masks, self._settings, self._places, low, high)

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """As of `Batch`."""
        chosen = np.flatnonzero(rows)
        codes = np.empty(chosen.size, np.uint64)
        lines.name_tasks(self.states, chosen, self._name, codes)
        return codes

    @property
    def positions(self) -> list[Any]:
        """The games' own states."""
        sides = self.states[:, [lines.FIRST, lines.SECOND]].tolist()
        return [self._state(first, second) for first, second in sides]


class LinesVector(CompiledVector):
    """Base class: many games at once that are won by so many in a row."""

    metadata: dict[str, Any] = GameEnv.metadata
    chat_type: ClassVar[type[GameChat]]
    run: ClassVar[int]
    """So many in a row win."""
    drops: ClassVar[bool]
    """Whether a move is a column, into which a disc drops."""
    opening: ClassVar[str]
    """What `content_key` writes before the content of a state's field."""

    def __init_subclass__(cls, chat: type[GameChat], **rest: Any) -> None:
        super().__init_subclass__(single=chat, **rest)
        cls.chat_type = chat
        cls.__doc__ = _PAGE.format(name=chat.game_type.name)

    def _make(self, num_envs: int, limit: int | None, arguments: dict[str, Any]) -> Made:
        chat = self.chat_type(**arguments)
        if limit is not None:
            as_integer("max_episode_steps", limit, chat.max_turns, 10**9)
        self.game, self.rubric = chat.game, chat.rubric
        _compile()
        self._boards = Boards(chat, type(self), num_envs)
        seen = Box(0.0, 1.0, self.game.shape, np.float32)
        return Made(self._boards, seen, self.game.actions, chat.max_turns)

    @staticmethod
    @abstractmethod
    def state(first: int, second: int) -> Any:
        """The game's own state with these bitboards."""

    @staticmethod
    def depth(opponent: Any) -> int:
        """How many moves an opponent looks ahead that is compiled, too: 0 for random moves."""
        return 0 if opponent == "random" else lines.ELSEWHERE

    def _stream(self, seed: int | None) -> Any:
        """As `ChatEnv` seeds its generator."""
        state = stream_of(secrets.randbits(63) if seed is None else seed)["state"]
        halves = [divmod(state[part], 2**64) for part in ("state", "inc")]
        return np.array([*halves[0], *halves[1], 0, 0], np.uint64)

    def _outputs(self) -> tuple[np.ndarray, Told]:
        seen = np.empty((self.num_envs, *self.game.shape), np.float32)
        return seen, {"action_mask": np.empty((self.num_envs, self.game.actions), np.int8)}

    def _look(self, due: np.ndarray, seen: np.ndarray, told: Told, low: int, high: int) -> None:
        self._boards.look(due, seen, told["action_mask"], low, high)

    def _anchors(self) -> np.ndarray:
        return self._boards.states[:, lines.ANCHOR]

    def _successes(self) -> np.ndarray:
        return self._boards.terms[lines.OUTCOME] >= 0

    def render(self) -> tuple[Any, ...] | None:
        """The board of each game, as `GameEnv.render` makes it."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() needs a mode: make the games with render_mode 'ansi' or 'rgb_array'"
            )
            return None
        draw = self.game.board if self.render_mode == "ansi" else self.game.picture
        return tuple(map(draw, self._boards.positions))


_PAGE = """Many games of `ludus/{name}-v0` at once: `gymnasium.make_vec("ludus/{name}-v0", num_envs=…)`.

The games, arguments and observations are those of the single environment; game `i` of `reset(seed=s)` is
exactly that of `reset(seed=s + i)`, the opponent's moves included, and what `gymnasium.vector.SyncVectorEnv`
would return is what is returned here, infos included. Returned arrays are the caller's: fresh ones on every
call. In each step the agents move and their opponents answer: `random` ones, and ConnectFour's `minimax`, in
compiled code, others one game after the other. Who wants to move for both sides takes PettingZoo's form.

## Arguments
Those of the single environment, and

- `num_envs`: how many games.
- `autoreset_mode`: Gymnasium's `AutoresetMode` or its value (default `NextStep`). `NextStep`: the step
  after an episode's end ignores the action and returns the next start. `SameStep`: the step that ends
  an episode returns the next start, and `info` has `final_obs` and `final_info`. `Disabled`: reset
  ended games by `reset(options={{"reset_mask": mask}})`.
- `max_episode_steps`: a spec's limit; none that would cut a game off.
- `threads`: how many threads play (default: one for every 256 games, at most one per processor). It
  changes no result.

## Infos
Arrays over games: `task`, `anchor`, `action_mask` (N, actions), `reward_terms` (a dictionary of arrays),
`success`; with Gymnasium's masks `_task` and so on that say which games have the entry.
"""


class TicTacToeVector(LinesVector, chat=TicTacToeChat):
    run, drops, opening = 3, False, "'9:"

    @staticmethod
    def state(first: int, second: int) -> Marks:
        places = [4 * column + 2 - row for row in range(3) for column in range(3)]
        return Marks("".join(".XO"[(first >> place & 1) + 2 * (second >> place & 1)] for place in places))


class ConnectFourVector(LinesVector, chat=ConnectFourChat):
    run, drops, opening = 4, True, "("

    @staticmethod
    def state(first: int, second: int) -> Discs:
        return Discs((first, second))

    @staticmethod
    def depth(opponent: Any) -> int:
        ahead = re.fullmatch("minimax:([0-9]+)", opponent) if isinstance(opponent, str) else None
        return int(ahead[1]) if ahead else LinesVector.depth(opponent)


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


@cache
def _compile() -> None:
    """Compile what `Boards` calls, once in a process, by playing a step."""

    def play() -> None:
        # Whose moves come from elsewhere, so that every kernel is used.
        boards = Boards(TicTacToeChat("oracle"), TicTacToeVector, 1)
        one = np.ones(1, np.bool_)
        boards.begin(one, 0, 1)
        boards.advance(np.zeros(1, np.int64), ~one, 0, 1)
        boards.look(one, np.empty((1, 3, 3, 2), np.float32), np.empty((1, 9), np.int8), 0, 1)
        boards.codes(one)

    compile_once("games in lines", play)
