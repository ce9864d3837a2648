"""`ludus/PrisonersDilemma-v0` and `ludus/PrisonersDilemmaChat-v0`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_integer
from ludus.envs.games.environment import GameChat, GameEnv
from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.picture import text_picture
from ludus.envs.games.player import certain

COOPERATE, DEFECT = 0, 1
_WORDS = ("cooperate", "defect")
PAYOFFS = (((3, 3), (0, 5)), ((5, 0), (1, 1)))
"""By the first seat's move and the second's (Axelrod 1984)."""


@dataclass(frozen=True, slots=True)
class History:
    """What both did in the rounds so far."""

    rounds: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class PrisonersDilemma(Game[History]):
    """The iterated prisoner's dilemma: both choose at the same time, round after round."""

    rounds: int = 10

    name: ClassVar[str] = "PrisonersDilemma"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 5.0
    actions: ClassVar[int] = 2
    opponents: ClassVar[tuple[str, ...]] = ("tit-for-tat", "grim", "win-stay-lose-shift")
    idle: ClassVar[int] = DEFECT
    task: ClassVar[str] = """
        In each round both sides cooperate or defect, without knowing what the other one does. Each gets 3
        if both cooperate and 1 if both defect; who defects alone gets 5, the other one 0. The outcome is the
        mean over the rounds. `tit-for-tat` cooperates first and then does what the other one did last; `grim`
        cooperates until the other one defects; `win-stay-lose-shift` repeats its move after 3 or 5; there are
        `cooperate` and `defect`, who always do. `oracle` is tit-for-tat that defects in the last round: its
        success is certain against players that cooperate with who cooperates."""
    looks: ClassVar[str] = (
        "for each round, 1 in the last axis for: the agent cooperated, it defected, the other one "
        "cooperated, it defected."
    )
    moves: ClassVar[str] = "`cooperate` (0) or `defect` (1)."
    target: ClassVar[str] = "3 on average, as by cooperation throughout"
    settings: ClassVar[tuple[str, ...]] = ("`rounds` (10): how many, 1 to 100; both know it.",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rounds", as_integer("rounds", self.rounds, 1, 100))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rounds, 4

    @property
    def longest(self) -> int:
        return self.rounds

    def start(self) -> History:
        return History()

    def to_move(self, state: History) -> tuple[int, ...]:
        return (0, 1) if len(state.rounds) < self.rounds else ()

    def legal(self, state: History, seat: int) -> tuple[int, ...]:
        return COOPERATE, DEFECT

    def play(self, state: History, moves: Mapping[int, int]) -> History:
        return History((*state.rounds, (moves[0], moves[1])))

    def outcome(self, state: History) -> tuple[float, ...] | None:
        if len(state.rounds) < self.rounds:
            return None
        return tuple(sum(PAYOFFS[a][b][seat] for a, b in state.rounds) / self.rounds for seat in (0, 1))

    def view(self, state: History, seat: int) -> View:
        """The rounds, each with the seat's own move first."""
        return tuple((moves[seat], moves[1 - seat]) for moves in state.rounds)

    def word(self, move: int) -> str:
        return _WORDS[move]

    def rules(self, seat: int) -> str:
        return (
            f"The prisoner's dilemma, {self.rounds} rounds. Each round, you and another player choose at the "
            "same time. Both cooperate: 3 each. Both defect: 1 each. One defects: 5 for that one, 0 for the "
            "other. You get the mean over the rounds."
        )

    def tell(self, view: View) -> str:
        told = [
            f"{number}. you {_WORDS[mine]}, other {_WORDS[theirs]}"
            for number, (mine, theirs) in enumerate(view, 1)
        ]
        if len(view) < self.rounds:
            told.append(f"Round {len(view) + 1} of {self.rounds}.")
        return "\n".join(told)

    def array(self, view: View) -> np.ndarray:
        seen = np.zeros(self.shape, np.float32)
        for number, (mine, theirs) in enumerate(view):
            seen[number, mine] = seen[number, 2 + theirs] = 1
        return seen

    def board(self, state: History) -> str:
        return "\n".join(
            ["".join("CD"[moves[seat]] for moves in state.rounds).ljust(self.rounds, ".") for seat in (0, 1)]
        )

    def picture(self, state: History) -> np.ndarray:
        return text_picture(self.board(state), height=96)

    def par(self, state: History, seat: int) -> float:
        return 3.0

    players: ClassVar[Mapping[str, Callable[[Any], Strategy]]] = {
        "cooperate": lambda game: lambda view, legal: certain(COOPERATE, legal),
        "defect": lambda game: lambda view, legal: certain(DEFECT, legal),
        "tit-for-tat": lambda game: _tit_for_tat,
        "grim": lambda game: _grim,
        "win-stay-lose-shift": lambda game: _win_stay_lose_shift,
        "oracle": lambda game: _oracle(game),
    }


def _tit_for_tat(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
    return certain(view[-1][1] if view else COOPERATE, legal)


def _grim(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
    return certain(DEFECT if any(theirs for _, theirs in view) else COOPERATE, legal)


def _win_stay_lose_shift(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
    mine, theirs = view[-1] if view else (COOPERATE, COOPERATE)
    return certain(mine if theirs == COOPERATE else 1 - mine, legal)


def _oracle(game: PrisonersDilemma) -> Strategy:
    def play(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
        is_last = len(view) == game.rounds - 1
        return certain(DEFECT, legal) if is_last else _tit_for_tat(view, legal)

    return play


class PrisonersDilemmaChat(GameChat, game=PrisonersDilemma):
    pass


class PrisonersDilemmaEnv(GameEnv, chat=PrisonersDilemmaChat):
    pass
