"""`ludus/KuhnPoker-v0` and `ludus/KuhnPokerChat-v0`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_number
from ludus.envs.games.environment import GameChat, GameEnv
from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.picture import text_picture

CHECK, BET, CALL, FOLD = range(4)
_WORDS = ("check", "bet", "call", "fold")
JACK, QUEEN, KING = range(3)
_CARDS = ("jack", "queen", "king")
_AFTER: Mapping[tuple[int, ...], tuple[int, ...]] = {
    (): (CHECK, BET),
    (CHECK,): (CHECK, BET),
    (BET,): (CALL, FOLD),
    (CHECK, BET): (CALL, FOLD),
}
"""The moves after each course of a hand that goes on."""


@dataclass(frozen=True, slots=True)
class Hand:
    """Both cards, none before they are dealt, and the moves so far."""

    cards: tuple[int, ...] = ()
    moves: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class KuhnView:
    """What a seat knows: its card, the moves, and, after a showdown, the other card."""

    seat: int
    card: int
    moves: tuple[int, ...]
    shown: int | None = None


@dataclass(frozen=True)
class KuhnPoker(Game[Hand]):
    """Poker with three cards: one each, one bet, one call."""

    name: ClassVar[str] = "KuhnPoker"
    low: ClassVar[float] = -2.0
    high: ClassVar[float] = 2.0
    actions: ClassVar[int] = 4
    shape: ClassVar[tuple[int, ...]] = (20,)
    longest: ClassVar[int] = 2
    opponents: ClassVar[tuple[str, ...]] = ("random", "honest", "oracle:50", "oracle")
    idle: ClassVar[int] = FOLD
    clairvoyant: ClassVar[bool] = True
    task: ClassVar[str] = """
        Jack, queen and king: each side gets one, and puts 1 into the pot. The first side checks or bets 1
        more. After a bet the other one calls, with 1 of its own, or folds; after a check it may bet, and then
        the first one calls or folds. If nobody folds, the higher card takes the pot. The outcome is what a
        side wins (Kuhn 1950). `oracle` plays one of the equilibria, by which the first side loses 1/18 a hand
        and nobody can win more from it; `honest` bets and calls with the king only. How much the best reply
        wins from a player is its exploitability: `ludus.envs.games.values`."""
    looks: ClassVar[str] = (
        "1 for each that is true, of: moving first, moving second; the own card is jack, queen, king; for "
        "each of three moves, it was check, bet, call, fold; the other card was shown as jack, queen, king."
    )
    moves: ClassVar[str] = "`check` (0), `bet` (1), `call` (2), `fold` (3)."
    target: ClassVar[str] = "a win with the higher card, or a loss of no more than 1 with the lower"

    def start(self) -> Hand:
        return Hand()

    def to_move(self, state: Hand) -> tuple[int, ...]:
        return (len(state.moves) % 2,) if state.cards and state.moves in _AFTER else ()

    def chance(self, state: Hand) -> tuple[tuple[float, Hand], ...]:
        return () if state.cards else tuple((1 / 6, Hand(deal)) for deal in permutations(range(3), 2))

    def legal(self, state: Hand, seat: int) -> tuple[int, ...]:
        return _AFTER[state.moves]

    def play(self, state: Hand, moves: Mapping[int, int]) -> Hand:
        (move,) = moves.values()
        return Hand(state.cards, (*state.moves, move))

    def outcome(self, state: Hand) -> tuple[float, ...] | None:
        if not state.cards or state.moves in _AFTER:
            return None
        if state.moves[-1] == FOLD:
            # Who folded is the one who moved last.
            won = 1.0 if len(state.moves) % 2 == 0 else -1.0
        else:
            stake = 2.0 if CALL in state.moves else 1.0
            won = stake if state.cards[0] > state.cards[1] else -stake
        return won, -won

    def view(self, state: Hand, seat: int) -> KuhnView:
        is_shown = self.outcome(state) is not None and FOLD not in state.moves
        return KuhnView(seat, state.cards[seat], state.moves, state.cards[1 - seat] if is_shown else None)

    def word(self, move: int) -> str:
        return _WORDS[move]

    def rules(self, seat: int) -> str:
        return (
            "Kuhn poker. The cards are jack, queen and king; you get one, the other side another one. Both "
            "have put 1 into the pot. One may bet 1 more; the other then calls or folds. The higher "
            f"card takes the pot. You move {('first', 'second')[seat]}."
        )

    def tell(self, view: View) -> str:
        told = [
            f"{'You' if number % 2 == view.seat else 'They'}: {_WORDS[move]}."
            for number, move in enumerate(view.moves)
        ]
        shown = [] if view.shown is None else [f"They had the {_CARDS[view.shown]}."]
        return " ".join([f"You have the {_CARDS[view.card]}.", *told, *shown])

    def array(self, view: View) -> np.ndarray:
        seen = np.zeros(self.shape, np.float32)
        seen[view.seat] = seen[2 + view.card] = 1
        for number, move in enumerate(view.moves):
            seen[5 + 4 * number + move] = 1
        if view.shown is not None:
            seen[17 + view.shown] = 1
        return seen

    def board(self, state: Hand) -> str:
        cards = " ".join(_CARDS[card] for card in state.cards)
        return f"{cards}: {', '.join(_WORDS[move] for move in state.moves) or 'to begin'}"

    def picture(self, state: Hand) -> np.ndarray:
        return text_picture(self.board(state), height=64)

    def par(self, state: Hand, seat: int) -> float:
        return 1.0 if state.cards[seat] > state.cards[1 - seat] else -1.0

    players: ClassVar[Mapping[str, Callable[[Any], Strategy]]] = {
        "oracle": lambda game: equilibrium(),
        "honest": lambda game: honest,
    }


def _in_favour(view: KuhnView, legal: tuple[int, ...], probability: float) -> tuple[float, ...]:
    """Of betting, or calling, with this probability."""
    return tuple(probability if move in (BET, CALL) else 1 - probability for move in legal)


def equilibrium(bluff: float = 0.2) -> Strategy:
    """One of the equilibria.

    Args:
        bluff: how often the first seat bets with the jack, 0 to 1/3; each value gives another equilibrium.
    """
    bluff = as_number("bluff", bluff, 0, 1 / 3)
    # By the moves so far: how often jack, queen and king bet or call (Kuhn 1950).
    favour: Mapping[tuple[int, ...], tuple[float, float, float]] = {
        (): (bluff, 0.0, 3 * bluff),
        (CHECK, BET): (0.0, bluff + 1 / 3, 1.0),
        (CHECK,): (1 / 3, 0.0, 1.0),
        (BET,): (0.0, 1 / 3, 1.0),
    }

    def play(view: KuhnView, legal: tuple[int, ...]) -> tuple[float, ...]:
        return _in_favour(view, legal, favour[view.moves][view.card])

    return play


def honest(view: KuhnView, legal: tuple[int, ...]) -> tuple[float, ...]:
    """Bets and calls with the king only."""
    return _in_favour(view, legal, float(view.card == KING))


class KuhnPokerChat(GameChat, game=KuhnPoker):
    pass


class KuhnPokerEnv(GameEnv, chat=KuhnPokerChat):
    pass
