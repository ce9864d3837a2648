"""`ludus/LeducPoker-v0` and `ludus/LeducPokerChat-v0`."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations
from typing import Any, ClassVar

import numpy as np

from ludus.envs.games.environment import GameChat, GameEnv
from ludus.envs.games.equilibrium import equilibrium
from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.picture import text_picture

CHECK, BET, CALL, RAISE, FOLD = range(5)
_WORDS = ("check", "bet", "call", "raise", "fold")
_CARDS = ("jack", "queen", "king")
_STAKES = (2, 4)
"""Of a bet in the first and the second round."""
_MOST_BETS = 2
"""Of both sides together in a round."""
_MOST_MOVES = 4
"""In a round: check, bet, raise, call."""
ITERATIONS = 1000
"""Of CFR+ for the oracle."""

Moves = tuple[tuple[int, int], ...]
"""(seat, move) in order."""


@dataclass(frozen=True, slots=True)
class Deal:
    """A hand of Leduc poker."""

    cards: tuple[int, ...] = ()
    """Of both sides, and the one on the table, which is dealt at once and shown later; none before that."""
    rounds: tuple[Moves, ...] = ((),)
    """What was done in each betting round that has begun."""
    paid: tuple[int, int] = (1, 1)
    is_over: bool = False

    @property
    def mover(self) -> int:
        return len(self.rounds[-1]) % 2


@dataclass(frozen=True, slots=True)
class LeducView:
    """What a seat knows."""

    seat: int
    card: int
    rounds: tuple[Moves, ...]
    table: int | None
    """The card on the table, from the second round on."""
    shown: int | None
    """The other side's card, after a showdown."""


@cache
def nash(game: "LeducPoker") -> Strategy:
    return equilibrium(game, ITERATIONS)


@dataclass(frozen=True)
class LeducPoker(Game[Deal]):
    """Poker with six cards and two betting rounds, the second with a card on the table."""

    name: ClassVar[str] = "LeducPoker"
    low: ClassVar[float] = -13.0
    high: ClassVar[float] = 13.0
    actions: ClassVar[int] = 5
    shape: ClassVar[tuple[int, ...]] = (51,)
    longest: ClassVar[int] = 4
    opponents: ClassVar[tuple[str, ...]] = ("random", "honest", "oracle:50", "oracle")
    idle: ClassVar[int] = FOLD
    clairvoyant: ClassVar[bool] = True
    task: ClassVar[str] = """
        Two jacks, two queens, two kings: each side gets one card and puts 1 into the pot. In a betting round
        a side checks, bets, calls, raises or folds; bets and raises are 2 in the first round and 4 in the
        second, and there are two at most in a round. Between the rounds a third card is shown on the table.
        If nobody folds, who has the same card as the table wins, otherwise the higher card; equal cards
        share. The outcome is what a side wins (Southey et al. 2005). `oracle` plays close to an equilibrium,
        found by CFR+ when it is first used: it can be exploited by less than 0.001 a hand. `honest` bets and
        raises with a pair or a king only, and folds a jack without a pair. `ludus.envs.games.values` measures
        exploitability."""
    looks: ClassVar[str] = (
        "1 for each that is true, of: moving first, moving second; the own card is jack, queen, king; the "
        "same for the card on the table; for each of four moves of each round, it was check, bet, call, "
        "raise, fold; the other card was shown as jack, queen, king."
    )
    moves: ClassVar[str] = "`check` (0), `bet` (1), `call` (2), `raise` (3), `fold` (4)."
    target: ClassVar[str] = (
        "what it would with open cards: a win with the better hand, no loss with an equal one, a loss of no "
        "more than 1 with the worse"
    )

    def start(self) -> Deal:
        return Deal()

    def to_move(self, state: Deal) -> tuple[int, ...]:
        return () if state.is_over or not state.cards else (state.mover,)

    def chance(self, state: Deal) -> tuple[tuple[float, Deal], ...]:
        return () if state.cards else _deals()

    def legal(self, state: Deal, seat: int) -> tuple[int, ...]:
        if state.paid[seat] == state.paid[1 - seat]:
            return CHECK, BET
        bets = sum(move in (BET, RAISE) for _, move in state.rounds[-1])
        return (CALL, RAISE, FOLD) if bets < _MOST_BETS else (CALL, FOLD)

    def play(self, state: Deal, moves: Mapping[int, int]) -> Deal:
        ((seat, move),) = moves.items()
        *earlier, current = state.rounds
        current = (*current, (seat, move))
        rounds = (*earlier, current)
        paid = list(state.paid)
        if move in (BET, RAISE):
            paid[seat] = paid[1 - seat] + _STAKES[len(earlier)]
        elif move == CALL:
            paid[seat] = paid[1 - seat]
        ends = move in (CALL, FOLD) or (move == CHECK and len(current) == 2)
        is_over = move == FOLD or (ends and len(rounds) == 2)
        if ends and not is_over:
            rounds = (*rounds, ())
        return replace(state, rounds=rounds, paid=(paid[0], paid[1]), is_over=is_over)

    def outcome(self, state: Deal) -> tuple[float, ...] | None:
        if not state.is_over:
            return None
        seat, move = state.rounds[-1][-1]
        # Who loses, loses what it has paid.
        loser = seat if move == FOLD else {1: 1, 0: None, -1: 0}[self._better(state)]
        if loser is None:
            return 0.0, 0.0
        lost = float(state.paid[loser])
        return (-lost, lost) if loser == 0 else (lost, -lost)

    def _better(self, state: Deal) -> int:
        """1 where the first side has the better hand, -1 where the second has, 0 where they are equal."""
        first, second, table = state.cards
        ranks = [10 * (card == table) + card for card in (first, second)]
        return (ranks[0] > ranks[1]) - (ranks[0] < ranks[1])

    def view(self, state: Deal, seat: int) -> LeducView:
        is_shown = state.is_over and state.rounds[-1][-1][1] != FOLD
        return LeducView(
            seat,
            state.cards[seat],
            state.rounds,
            state.cards[2] if len(state.rounds) == 2 else None,
            state.cards[1 - seat] if is_shown else None,
        )

    def word(self, move: int) -> str:
        return _WORDS[move]

    def rules(self, seat: int) -> str:
        return (
            "Leduc poker. The cards are two jacks, two queens and two kings; you get one, the other side "
            "another. Both have put 1 into the pot. There are two betting rounds, with bets and raises of 2, "
            "then of 4, at most two in a round. Between them a card is shown on the table. Who has the same "
            f"card as the table wins, otherwise the higher card. You move {('first', 'second')[seat]}."
        )

    def tell(self, view: View) -> str:
        told = [f"You have the {_CARDS[view.card]}."]
        for number, moves in enumerate(view.rounds):
            if number == 1:
                told.append(f"On the table is the {_CARDS[view.table]}.")
            told += [f"{'You' if seat == view.seat else 'They'}: {_WORDS[move]}." for seat, move in moves]
        if view.shown is not None:
            told.append(f"They had the {_CARDS[view.shown]}.")
        return " ".join(told)

    def array(self, view: View) -> np.ndarray:
        seen = np.zeros(self.shape, np.float32)
        seen[view.seat] = seen[2 + view.card] = 1
        if view.table is not None:
            seen[5 + view.table] = 1
        for number, moves in enumerate(view.rounds):
            for place, (_, move) in enumerate(moves):
                seen[8 + len(_WORDS) * (_MOST_MOVES * number + place) + move] = 1
        if view.shown is not None:
            seen[48 + view.shown] = 1
        return seen

    def board(self, state: Deal) -> str:
        first, second, table = (_CARDS[card] for card in state.cards)
        rounds = [", ".join(_WORDS[move] for _, move in moves) or "to begin" for moves in state.rounds]
        return f"{first} {second}, table {table}\n" + "\n".join(rounds)

    def picture(self, state: Deal) -> np.ndarray:
        return text_picture(self.board(state), height=96)

    def par(self, state: Deal, seat: int) -> float:
        return float(self._better(state) * (1 if seat == 0 else -1))

    players: ClassVar[Mapping[str, Callable[[Any], Strategy]]] = {
        "oracle": lambda game: nash(game),
        "honest": lambda game: honest,
    }


@cache
def _deals() -> tuple[tuple[float, Deal], ...]:
    """By the rank of each card: which of two equal ones it is makes no difference."""
    counts = Counter(permutations((0, 0, 1, 1, 2, 2), 3))
    return tuple((count / counts.total(), Deal(cards)) for cards, count in sorted(counts.items()))


def honest(view: LeducView, legal: tuple[int, ...]) -> tuple[float, ...]:
    """Bets and raises with a pair or a king, checks and calls with a queen, and folds a jack."""
    strong = view.card == view.table or view.card == 2
    wanted = (BET, RAISE, CALL) if strong else (CHECK, CALL) if view.card == 1 else (CHECK, FOLD)
    chosen = next(move for move in wanted if move in legal)
    return tuple(float(move == chosen) for move in legal)


class LeducPokerChat(GameChat, game=LeducPoker):
    pass


class LeducPokerEnv(GameEnv, chat=LeducPokerChat):
    pass
