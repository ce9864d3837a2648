"""One seat of a game as a Gymnasium environment: in words (`GameChat`) and in numbers (`GameEnv`).

A game's module has two lines for them:

    class NimChat(GameChat, game=Nim): ...
    class NimEnv(GameEnv, chat=NimChat): ...
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Discrete

from ludus.envs.arguments import as_choice, as_integer, refuse_unknown_arguments, takes_arguments_of
from ludus.envs.base import ChatEnv, Outcome, Start, Verdict, stream_of
from ludus.envs.errors import ArgumentError
from ludus.envs.games import words
from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.page import page
from ludus.envs.games.player import choose, named
from ludus.envs.games.scripted import chat_agents, native_agents
from ludus.envs.games.table import Table, number_for, outcome, sit_down, submit, waiting
from ludus.envs.picture import OBSERVATIONS, chat_space
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent
from ludus.tools.content import content_key

SEATS = ("first", "second", "random")


@dataclass(frozen=True, slots=True)
class Seated:
    """A game from one seat."""

    table: Table
    seat: int


@dataclass(frozen=True, slots=True)
class Submitted:
    """A reply, and what was made of it."""

    table: Table
    """Afterwards."""
    move: int | None
    """None: no move could be read."""
    terms: dict[str, float]
    """Of the rubric."""
    complaint: str
    """What is wrong with it; empty if nothing is."""


class GameChat(ChatEnv):
    """Base class: one seat of a game, in words, against scripted players on the others."""

    game: Game[Any]
    game_type: ClassVar[type[Game[Any]]]
    rubric = Rubric({"outcome": 1.0, "illegal": -0.1, "malformed": -0.1}, form=("malformed",))

    def __init_subclass__(cls, game: type[Game[Any]], **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.game_type, cls.__doc__ = game, page(game)
        cls.scripted = chat_agents(game)
        cls.__init__ = takes_arguments_of(game)(GameChat.__init__)  # type: ignore[method-assign]

    def __init__(
        self,
        opponent: str | Strategy | None = None,
        seat: str = "first",
        error_limit: int = 3,
        observation: str = "text",
        render_mode: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(render_mode)
        self.game = self.game_type(**arguments)
        shown = OBSERVATIONS if self.game.is_open else ("text",)
        self.observation = as_choice("observation", observation, shown)
        if observation != "text":
            height, width, _ = self.game.picture(sit_down(self.game, 0).state).shape
            self.observation_space = chat_space(height, width)
        self.opponent = self.game.opponents[0] if opponent is None else opponent
        if not isinstance(self.opponent, str) and not callable(self.opponent):
            raise ArgumentError(
                f"opponent={opponent!r}: give a player's name, or a function from (view, legal moves) to a "
                "probability for each of these"
            )
        is_named = isinstance(self.opponent, str)
        self._strategy: Strategy = named(self.game, self.opponent) if is_named else self.opponent  # type: ignore[assignment, arg-type]
        self.seat = as_choice("seat", seat, SEATS)
        self.error_limit = as_integer("error_limit", error_limit, 1, 100)
        # So many replies end every game: nothing is truncated.
        self.max_turns = self.game.longest + self.error_limit

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"opponent": self.game.opponents}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        return self.begin(self._others_move(self._deal(rng)))

    def respond(self, state: Seated, text: str) -> Outcome:
        submitted = self.submit(state, text)
        return self.tell(self._others_move(replace(state, table=submitted.table)), submitted)

    def deal(self, seed: int) -> Seated:
        """The game that `reset` begins with a seed, before anybody has moved, and the agent's seat in it."""
        rng = np.random.Generator(np.random.PCG64(0))
        rng.bit_generator.state = stream_of(seed)
        return self._deal(rng)

    def _deal(self, rng: np.random.Generator) -> Seated:
        seed = int(rng.integers(2**63))
        seat = int(rng.integers(self.game.seats)) if self.seat == "random" else SEATS.index(self.seat)
        return Seated(sit_down(self.game, seed), seat)

    def begin(self, state: Seated) -> Start:
        """What a seat is told that is to move for the first time."""
        name = f"{self.game} seat {state.seat} seed {state.table.seed}"
        return Start(
            [words.opening(self.game, state.seat, self.observation), self._scene(state)], name, state
        )

    def submit(self, state: Seated, text: str) -> Submitted:
        """What becomes of the table by a seat's reply, before others move."""
        move, complaint = words.read_move(self.game, text)
        table = submit(self.game, state.table, state.seat, move, self.error_limit)
        is_illegal = False
        if move is not None and table.errors != state.table.errors:
            is_illegal, complaint = True, words.illegal(self.game, move)
        terms = {"illegal": float(is_illegal), "malformed": float(move is None)}
        return Submitted(table, move, terms, complaint)

    def tell(self, state: Seated, submitted: Submitted) -> Outcome:
        """What a seat is told after its reply, once it is to move again or the game is over."""
        result = outcome(self.game, state.table)
        if result is None:
            return Outcome(state, [self._scene(state, submitted.complaint)], submitted.terms)
        terms = {**submitted.terms, "outcome": result[state.seat]}
        forfeited = state.table.forfeited
        success = result[state.seat] >= self._par(state) if forfeited is None else forfeited != state.seat
        told = words.ending(self.game, state.table, state.seat, submitted.complaint, self.observation)
        return Outcome(state, [told], terms, True, success, "" if success else self._failure_of(state))

    def anchor(self, state: Seated) -> int:
        table = state.table
        return content_key((table.state, table.plays, table.pending, table.errors[state.seat]))

    def expected(self, state: Seated) -> str:
        return f"an outcome of {self._par(state):g} or more" if self._is_over(state) else self.game.target

    @property
    def view(self) -> View:
        """What the agent's seat knows."""
        return self.game.view(self._state.table.state, self._state.seat)

    @property
    def legal(self) -> tuple[int, ...]:
        """The moves that the agent may make; none when the game is over."""
        if self._is_over(self._state):
            return ()
        return self.game.legal(self._state.table.state, self._state.seat)

    def advice(self, player: str | Strategy) -> int:
        """The move that a scripted player would make in the agent's place, knowing what the agent knows."""
        strategy = named(self.game, player, "player") if isinstance(player, str) else player
        table, seat = self._state.table, self._state.seat
        return choose(self.game, strategy, table.state, seat, number_for(table, seat))

    def sit_at(self, table: Table, seat: int) -> None:
        """Look at a game elsewhere from one of its seats: `view`, `legal` and `advice` are about that."""
        self._state, self._open = Seated(table, seat), True

    def _others_move(self, state: Seated) -> Seated:
        """Scripted players move as long as only they are waited for, and beside the agent."""
        table = state.table
        while others := [seat for seat in waiting(self.game, table) if seat != state.seat]:
            move = choose(self.game, self._strategy, table.state, others[0], number_for(table, others[0]))
            table = submit(self.game, table, others[0], move, self.error_limit)
        return replace(state, table=table)

    def _scene(self, state: Seated, complaint: str = "") -> Any:
        return words.scene(self.game, state.table, state.seat, complaint, self.observation)

    def _par(self, state: Seated) -> float:
        return self.game.par(state.table.state, state.seat)

    def _is_over(self, state: Seated) -> bool:
        return outcome(self.game, state.table) is not None

    def _failure_of(self, state: Seated) -> str:
        if state.table.forfeited is not None:
            return f"forfeited by {self.error_limit} illegal or malformed moves"
        result = outcome(self.game, state.table)
        return f"an outcome of {result[state.seat]:g}" if result else ""


class GameEnv(gymnasium.Env[np.ndarray, np.int64]):
    """Base class: the same in numbers. It plays the game's chat environment, move by move."""

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 2}  # noqa: RUF012
    chat_type: ClassVar[type[GameChat]]
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]]

    def __init_subclass__(cls, chat: type[GameChat], **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.chat_type, cls.__doc__ = chat, chat.__doc__
        cls.scripted = native_agents(chat.game_type)
        cls.__init__ = takes_arguments_of(chat, "render_mode", "observation")(GameEnv.__init__)  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        refuse_unknown_arguments(cls, kwargs)
        return super().__new__(cls)

    def __init__(self, render_mode: str | None = None, **arguments: Any) -> None:
        if render_mode is not None:
            as_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self._chat = self.chat_type(**arguments)
        self.game = self._chat.game
        self.rubric, self.max_turns = self._chat.rubric, self._chat.max_turns
        self.observation_space = Box(0.0, 1.0, self.game.shape, np.float32)
        self.action_space = Discrete(self.game.actions)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a game: a pure function of the arguments and the seed; without one, the next in line.

        Returns:
            The observation, and `info` with `task`, `anchor` and `action_mask`.

        Raises:
            ArgumentError: the seed is no integer ≥ 0, or there are options, of which games have none.
        """
        _, info = self._chat.reset(seed=seed, options=options)
        self._np_random, self._np_random_seed = self._chat._np_random, self._chat._np_random_seed
        return self.game.array(self.view), self._with_mask(info)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Make a move. One that is illegal here is counted, and nothing moves.

        Returns:
            The observation; the reward; terminated; truncated, never; and `info` with `task`, `anchor`,
            `action_mask`, `reward_terms` and, when the game ends, `success`.

        Raises:
            gymnasium.error.ResetNeeded: no episode is open.
            ArgumentError: the action is none of the space's.
        """
        reply = words.reply(self.game, as_move(self.game, action))
        _, reward, terminated, truncated, info = self._chat.step(reply)
        return self.game.array(self.view), reward, terminated, truncated, self._with_mask(info)

    def _with_mask(self, info: dict[str, Any]) -> dict[str, Any]:
        info["action_mask"] = mask_of(self.game, self.legal)
        return info

    def action_masks(self) -> np.ndarray:
        """Which moves are legal, bool (actions,); `MaskablePPO` of sb3-contrib looks for this method."""
        return mask_of(self.game, self.legal).astype(np.bool_)

    @property
    def view(self) -> View:
        """What the agent's seat knows."""
        return self._chat.view

    @property
    def legal(self) -> tuple[int, ...]:
        """The moves that the agent may make; none when the game is over."""
        return self._chat.legal

    def advice(self, player: str | Strategy) -> int:
        """The move that a scripted player would make in the agent's place, knowing what the agent knows."""
        return self._chat.advice(player)

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        """As `ChatEnv.difficulties`."""
        return self._chat.difficulties

    @property
    def verdict(self) -> Verdict:
        """How the game that has just ended was judged."""
        return self._chat.verdict

    @property
    def task_name(self) -> str:
        """As `ChatEnv.task_name`."""
        return self._chat.task_name

    @property
    def spec(self) -> EnvSpec | None:
        """How `gymnasium.make` made the instance; `max_episode_steps` is `max_turns`."""
        return self._chat.spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._chat.spec = spec

    def snapshot(self) -> Any:
        """The whole episode as an opaque value, which can be pickled."""
        return self._chat.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go back to where `snapshot` was taken, here or in another instance with the same arguments."""
        self._chat.restore(snapshot)

    def render(self) -> Any:
        """`ansi`: the board as text. `rgb_array`: as a picture, uint8 (height, width, 3)."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() needs a mode: make the environment with render_mode 'ansi' or 'rgb_array'"
            )
            return None
        draw = self.game.board if self.render_mode == "ansi" else self.game.picture
        return draw(self._chat._state.table.state)


def as_move(game: Game[Any], action: Any) -> int:
    """An action as an int, also from an array without dimensions, such as other libraries' policies return.

    Raises:
        ArgumentError: the game has no such move.
    """
    try:
        move = -1 if isinstance(action, bool) else operator.index(action)
    except TypeError:
        move = -1
    if not 0 <= move < game.actions:
        raise ArgumentError(f"action {action!r}: give an integer from 0 to {game.actions - 1}")
    return move


def mask_of(game: Game[Any], legal: Sequence[int]) -> np.ndarray:
    """A 1 for each of these moves, int8 (actions,), as `Discrete.sample(mask)` takes it."""
    mask = np.zeros(game.actions, np.int8)
    mask[list(legal)] = 1
    return mask
