"""`ludus/PacManChat-v0`: Pac-Man in words, over several turns."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.grid import pacman_rules as rules
from ludus.envs.grid.pacman_game import DIRECTIONS, RUBRIC, WEIGHTS, Game, Games
from ludus.envs.grid.pacman_text import (
    EMPTY_SIGN,
    GHOST_SIGNS,
    HARMLESS_SIGN,
    LOST_SIGN,
    PACMAN_SIGN,
    PELLET_SIGN,
    POWER_SIGN,
    WALL_SIGN,
    board_text,
    cell_signs,
    field_of_view,
    open_moves,
)
from ludus.envs.rubric import Rubric

_ACTION = re.compile(r"<action>(.*?)</action>", re.DOTALL)
_SEPARATORS = re.compile(r"[\s,]+")
_MOVES = {name: index for index, name in enumerate(DIRECTIONS)}


@dataclass(frozen=True, slots=True)
class PacManState:
    """A game between two replies: the two rows that `pacman_rules` describes, as bytes."""

    grid: bytes
    state: bytes


class PacManChat(ChatEnv):
    def __init__(
        self,
        rows: int = 7,
        columns: int = 7,
        layout: str | None = None,
        ghosts: int | Sequence[str] = 1,
        ghost_speed: float = 0.5,
        power_pellets: int = 2,
        frightened_steps: int = 10,
        view: int | None = None,
        plan_limit: int = 4,
        max_turns: int = 25,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        for name, value, low in (("plan_limit", plan_limit, 1), ("max_turns", max_turns, 1), ("view", view, 1)):
            if name == "view" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"{name}={value!r}: must be an integer of at least {low}")
        self.game = Game(
            rows=rows,
            columns=columns,
            layout=layout,
            ghosts=ghosts,
            ghost_speed=ghost_speed,
            power_pellets=power_pellets,
            frightened_steps=frightened_steps,
            max_steps=max_turns * plan_limit,
        )
        self.plan_limit = plan_limit
        self.max_turns = max_turns
        self.view = view
        self.rubric = Rubric({**RUBRIC.weights, "malformed": -0.5, "illegal": -0.5})
        self._no_terms = dict.fromkeys(self.rubric.weights, 0.0)
        self._signs = cell_signs(self.game)
        self._how = (
            f"Reply with 1 to {plan_limit} moves" if plan_limit > 1 else "Reply with one move"
        ) + f", like <action>{' '.join(('up', 'up', 'left')[-plan_limit:])}</action>"

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        if options:
            raise ValueError(f"options={dict(options)!r}: PacManChat has no reset options")
        games = Games(self.game, 1)
        games.streams[0] = rng.integers(2**63)
        games.begin(np.ones(1, np.bool_), 0, 1)
        state = PacManState(games.grids.tobytes(), games.states.tobytes())
        return Start([system(self._rules_text()), user(self._scene(state))], games.task(0), state)

    def respond(self, state: PacManState, text: str) -> Outcome:
        moves, complaint = self._read(text)
        if complaint:
            message = user(f"{complaint} {self._how}.\n{self._scene(state)}")
            return Outcome(state, [message], {**self._no_terms, "malformed": 1.0})
        return self._play(state, moves)

    def _read(self, text: str) -> tuple[list[int], str]:
        """The moves of a reply, or what is wrong with it."""
        found = _ACTION.findall(text)
        if len(found) != 1:
            return [], "No <action> found." if not found else f"{len(found)} <action> tags found, give one."
        names = [name for name in _SEPARATORS.split(found[0].strip().lower()) if name]
        if not names:
            return [], "The <action> is empty."
        if len(names) > self.plan_limit:
            return [], f"{len(names)} moves are too many."
        for name in names:
            if name not in _MOVES:
                return [], f"{name[:12]!r} is not a move: use up, right, down or left."
        return [_MOVES[name] for name in names], ""

    def _play(self, before: PacManState, moves: Sequence[int]) -> Outcome:
        """Play the moves until one would run into a wall or the game ends."""
        grids = np.frombuffer(before.grid, np.uint8).copy()[None]
        states = np.frombuffer(before.state, np.int64).copy()[None]
        columns = self.game.columns
        terms = np.zeros((len(rules.TERMS), 1))
        totals = np.zeros(len(rules.TERMS))
        rewards, ended, cut = np.zeros(1), np.zeros(1, np.bool_), np.zeros(1, np.bool_)
        resting = np.zeros(1, np.bool_)
        note, illegal = "", 0.0
        for move in moves:
            names = open_moves(grids[0].tobytes(), int(states[0, rules.PACMAN]), columns)
            if DIRECTIONS[move] not in names:
                note, illegal = f"Wall: cannot go {DIRECTIONS[move]}.\n", 1.0
                break
            action = np.array([move])
            rules.advance(
                grids, states, action, resting, self.game.settings, WEIGHTS, terms, rewards, ended, cut, 0, 1
            )
            totals += terms[:, 0]
            if ended[0]:
                break
        after = PacManState(grids.tobytes(), states.tobytes())
        counts = {**self._no_terms, **dict(zip(rules.TERMS, totals.tolist(), strict=True)), "illegal": illegal}
        message = user(note + self._scene(after))
        return Outcome(after, [message], counts, bool(ended[0]), counts["cleared"] > 0)

    def _rules_text(self) -> str:
        kinds = dict.fromkeys(self.game.ghost_kinds)
        legend = [
            f"{PACMAN_SIGN} you",
            f"{WALL_SIGN} wall",
            f"{PELLET_SIGN} pellet",
            f"{POWER_SIGN} power pellet",
            f"{EMPTY_SIGN} empty",
            *(f"{GHOST_SIGNS[kind]} {kind} ghost" for kind in kinds),
        ]
        if kinds:
            legend.append(f"{HARMLESS_SIGN} harmless ghost")
        return (
            f"Pac-Man. {', '.join(legend)}. Eat all pellets"
            f"{', keep away from ghosts' if kinds else ''}. {self._how}."
        )

    def _scene(self, state: PacManState) -> str:
        """The board, and one line about it."""
        words = np.frombuffer(state.state, np.int64)
        pacman, columns = int(words[rules.PACMAN]), self.game.columns
        grid = np.frombuffer(state.grid, np.uint8).reshape(self.game.rows, columns)
        seen = grid if self.view is None else field_of_view(grid, pacman, self.view)
        board = board_text(seen.tobytes(), *seen.shape, self._signs)
        if words[rules.PELLETS] == 0:
            line = "Cleared!"
        elif LOST_SIGN in board:
            line = "Caught."
        else:
            line = f"{words[rules.PELLETS]} left, open: {' '.join(open_moves(state.grid, pacman, columns))}"
            if words[rules.FRIGHT]:
                line += f", ghosts frightened for {words[rules.FRIGHT]}"
        return f"{board}\n{line}"
