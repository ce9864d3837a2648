"""Plays games of TextArena; run by `child.py`, it imports nothing of the project.

A game follows from (game, players, seed, moves). The games draw from the global generators, so each has
states of these of its own, which stand in place while it is played and at no other time. Games in play are
kept by their moves; one that is asked for and not kept is played again from its beginning.
"""

import copy
import importlib
import random
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import textarena
from textarena.envs.registration import ENV_REGISTRY

NAMES = sorted(name for name in ENV_REGISTRY if not re.search(r"-(raw|train)(-|$)", name))
"""Without the variants that only show what was said in another way."""
PLAYERS = (2, 3, 4, 5, 6, 7, 1)
"""Numbers of players, in the order in which they are tried: a game for one refuses two, but not always the
other way round."""
KEPT = 256
"""Games in play."""
TRIALS = 40
"""Moves that are tried to find one that a game takes."""
GUESSES = (
    *map(str, range(10)),
    *("up", "down", "left", "right", "w", "a", "s", "d", "yes", "no", "pass", "I agree."),
    *(f"{column}{row}" for column in "ABC" for row in (1, 2, 3)),
    *(f"{row} {column}" for row in range(3) for column in range(3)),
)
"""Moves that many games take."""
_BRACKETS = re.compile(r"\[([^\[\]\n]{1,40})\]")


class Live:
    """A game in play."""

    def __init__(self, game: str, players: int, seed: int) -> None:
        self.seed, self.players, self.count = seed, players, 0
        random.seed(seed)
        np.random.seed(seed)
        self.generators = random.getstate(), np.random.get_state()
        with self.own_generators():
            self.env = make(game)
            self.env.reset(num_players=players, seed=seed)
        self.shown: list[list[str]] = [[] for _ in range(players)]
        self.new = [0] * players
        self.done = self.illegal = False
        self._look()

    @contextmanager
    def own_generators(self) -> Iterator[None]:
        random.setstate(self.generators[0])
        np.random.set_state(self.generators[1])
        try:
            yield
        finally:
            self.generators = random.getstate(), np.random.get_state()

    @property
    def turn(self) -> int:
        return int(self.env.state.current_player_id)

    def step(self, move: str) -> None:
        mover, before = self.turn, self._errors()
        self.new[mover] = len(self.shown[mover])
        with self.own_generators():
            self.done = bool(self.env.step(action=move)[0])
            self._look()
        self.count += 1
        self.illegal = self._errors() > before or self._expelled(mover)

    def takes(self, move: str) -> bool:
        """Whether the rules allow a move, tried on a copy."""
        twin = copy.copy(self)
        twin.shown, twin.new = [list(texts) for texts in self.shown], list(self.new)
        try:
            with self.own_generators():
                twin.env = copy.deepcopy(self.env)
            twin.step(move)
        except Exception:
            return False
        return not twin.illegal

    def text(self, player: int, whole: bool) -> str:
        """What a player has seen, since its last move or from the beginning."""
        return "\n".join(self.shown[player][0 if whole else self.new[player] :]).strip()

    def rewards(self) -> list[float]:
        found = self.env.state.rewards or {}
        return [float(found.get(player, 0.0)) for player in range(self.players)]

    def reason(self) -> str:
        told = getattr(self.env.state, "game_info", {}).get(0, {})
        return str(told.get("reason") or "") if isinstance(told, dict) else ""

    def _look(self) -> None:
        """Collect what the players are shown that are to move, or all of them at the end."""
        state = self.env.state
        if not self.done:
            player, observed = self.env.get_observation()
            self._show(player, observed)
            return
        for player in range(self.players):
            self._show(player, state.observations.get(player, []))

    def _show(self, player: int, observed: Any) -> None:
        names = self.env.state.role_mapping
        for sender, message, *kind in observed:
            if sender == player and textarena.ObservationType.PLAYER_ACTION in kind:
                continue  # its own words, which it knows
            name = "GAME" if sender == textarena.GAME_ID else names.get(sender, f"Player {sender}")
            self.shown[player].append(f"[{name}] {message}")

    def _errors(self) -> int:
        return int(getattr(self.env.state, "error_count", 0))

    def _expelled(self, player: int) -> bool:
        told = getattr(self.env.state, "game_info", {}).get(player, {})
        return bool(isinstance(told, dict) and told.get("invalid_move"))


_live: "OrderedDict[tuple[Any, ...], Live]" = OrderedDict()


def answer(question: Any) -> Any:
    if question == "names":
        return NAMES
    what, game, *rest = question
    if what == "players":
        return players(game)
    count, seed, moves, *rest = rest
    live = reached(game, count, seed, tuple(moves))
    return position(live, *rest) if what == "play" else possible(live, *rest)


def make(game: str) -> Any:
    """The game, with what TextArena itself does to moves, and nothing of what it does to observations."""
    spec = ENV_REGISTRY[game]
    entry = spec.entry_point
    if isinstance(entry, str):
        module, _, name = entry.partition(":")
        entry = getattr(importlib.import_module(module), name)
    env = entry(**spec.kwargs)
    for wrapper in spec.default_wrappers or ():
        if issubclass(wrapper, textarena.ActionWrapper):
            env = wrapper(env)
    return env


@cache
def players(game: str) -> int:
    """How many play it: the smallest number that it takes.

    Raises:
        RuntimeError: it takes none; the text says what it needs.
    """
    first = ""
    for count in PLAYERS:
        try:
            Live(game, count, 0)
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip("* ")]
            first = first or f"{type(error).__name__}: {next(iter(lines), '')}"
            if isinstance(error, ImportError | SyntaxError | OSError | LookupError):
                break  # another number of players would not help
        else:
            return count
    raise RuntimeError(first)


def reached(game: str, count: int, seed: int, moves: tuple[str, ...]) -> Live:
    """The game after these moves."""
    key = (game, count, seed)
    if (key, moves) not in _live:
        live = _live.pop((key, moves[:-1]), None) if moves else None
        rest = moves[-1:]
        if live is None:
            live, rest = Live(game, count, seed), moves
        for move in rest:
            live.step(move)
        _live[key, moves] = live
        if len(_live) > KEPT:
            _live.popitem(last=False)
    return _live[key, moves]


def position(live: Live, seat: int) -> dict[str, Any]:
    """Where a game stands, for a seat."""
    if live.done:
        ended = {"rewards": live.rewards(), "reason": live.reason(), "text": live.text(seat, False)}
        return {"turn": None, "illegal": live.illegal, **ended}
    turn = live.turn
    return {"turn": turn, "illegal": live.illegal, "text": live.text(turn, whole=turn != seat)}


def possible(live: Live, draw: int, knowing: bool) -> str | None:
    """A move that the game takes now, found by trying what stands in brackets, then what is often taken, and
    first, for one who is `knowing`, what the game keeps to itself; another one for another `draw`. None if
    none was found."""
    source = random.Random(f"{live.seed} {live.count} {draw}")
    text = live.text(live.turn, whole=True)
    named = {*map(str, live.env.state.role_mapping.values()), "GAME"}
    read = [each for each in dict.fromkeys(_BRACKETS.findall(text)) if each not in named]
    words = [_hidden(live.env.state.game_state) if knowing else [], read, [*GUESSES]]
    for group in words:
        source.shuffle(group)
    moves = (f"[{word}]" for group in words for word in group)
    return next(filter(live.takes, islice(moves, TRIALS)), None)


def _hidden(value: Any, depth: int = 0) -> list[str]:
    """Short texts and numbers in what a game keeps, and a list of such as one text."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return [str(value)] if len(str(value)) <= 40 else []
    if isinstance(value, dict) and depth < 3:
        return [word for each in value.values() for word in _hidden(each, depth + 1)][:20]
    if isinstance(value, list | tuple) and depth < 3:
        parts = [word for each in value for word in _hidden(each, depth + 1)][:20]
        return [" ".join(parts), *parts] if depth < 2 else parts
    return []
